//! stub
#[derive(Debug, clap::Args)] pub struct DemoArgs{} 
/// r
pub fn run(_:&DemoArgs)->std::process::ExitCode{std::process::ExitCode::SUCCESS}
