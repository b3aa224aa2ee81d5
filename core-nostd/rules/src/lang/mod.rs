//! The language: from the text of expressions to a set of programs.
//!
//! Text → tokens → tree → checks → instructions. Recursion is bounded and memory is linear in the
//! text, so hostile text costs an error and no more.

mod checker;
mod diagnostic;
mod emitter;
mod fields;
mod functions;
mod listing;
mod operators;
mod parser;
mod pool;
mod token;
mod tree;

pub use diagnostic::{Diagnostic, Error, Part};
pub use listing::Listing;

use alloc::format;
use alloc::vec::Vec;

use crate::limits::{FIELDS_MAX, ROUTES_MAX, SET_BYTES_MAX};
use crate::set::{Instruction, Program, Route};
use pool::Pool;
use tree::{Kind, Tree};

/// The expressions of one route, as the operator wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source<'a> {
    /// Selects events; without it every event is selected.
    pub where_: Option<&'a str>,
    /// Makes the key of the Kafka record; without it the caller's default holds.
    pub key: Option<&'a str>,
}

/// Compiles the expressions of all routes, in order, into one set that [`Set::verify`](crate::Set::verify)
/// accepts.
///
/// # Errors
/// The first mistake, with its place. The last route, if all together are too many or too large.
pub fn compile(sources: &[Source<'_>]) -> Result<Vec<u8>, Error> {
    if sources.len() > ROUTES_MAX {
        let message = format!("there are more than {ROUTES_MAX} routes");
        return Err(at(ROUTES_MAX, Part::Where, Diagnostic::new("R031", 0..0, message)));
    }
    let mut pool = Pool::default();
    let mut trees = Vec::with_capacity(sources.len());
    for (route, source) in sources.iter().enumerate() {
        let mut read = |text, part| {
            read(text, part, &mut pool).map_err(|diagnostic| at(route, part, diagnostic))
        };
        trees.push((read(source.where_, Part::Where)?, read(source.key, Part::Key)?));
    }
    pool.number_fields();
    let (mut routes, mut code) = (Vec::with_capacity(sources.len()), Vec::new());
    for (route, (where_, key)) in trees.iter().enumerate() {
        let mut program = |tree: &Option<Tree>, part| {
            append(tree.as_ref(), &mut pool, &mut code)
                .map_err(|diagnostic| at(route, part, diagnostic))
        };
        routes.push(Route { where_: program(where_, Part::Where)?, key: program(key, Part::Key)? });
    }
    let bytes = pool.assemble(&routes, &code).map_err(|pool::TooLarge| {
        let message = format!("all routes together need more than {SET_BYTES_MAX} bytes");
        at(sources.len().saturating_sub(1), Part::Where, Diagnostic::new("R032", 0..0, message))
    })?;
    Ok(bytes)
}

/// Checks one `where` by itself.
///
/// # Errors
/// The first mistake.
pub fn check_predicate(text: &str) -> Result<(), Diagnostic> {
    check(Source { where_: Some(text), key: None })
}

/// Checks one `key` by itself.
///
/// # Errors
/// The first mistake.
pub fn check_key(text: &str) -> Result<(), Diagnostic> {
    check(Source { where_: None, key: Some(text) })
}

fn check(source: Source<'_>) -> Result<(), Diagnostic> {
    compile(&[source]).map(|_| ()).map_err(|error| error.diagnostic)
}

fn at(route: usize, part: Part, diagnostic: Diagnostic) -> Error {
    Error { route, part, diagnostic }
}

/// Parses and checks an expression, and notes its fields.
fn read(text: Option<&str>, part: Part, pool: &mut Pool) -> Result<Option<Tree>, Diagnostic> {
    let Some(text) = text else {
        return Ok(None);
    };
    let tree = parser::parse(text)?;
    checker::check(&tree, part)?;
    for (_, node) in tree.nodes() {
        if let Kind::Field { path, .. } = &node.kind {
            pool.want(path).map_err(|fields::TooMany| {
                let message = format!("all routes together name more than {FIELDS_MAX} fields");
                Diagnostic::new("R030", node.span.clone(), message)
            })?;
        }
    }
    Ok(Some(tree))
}

/// Appends the program of an expression.
fn append(
    tree: Option<&Tree>,
    pool: &mut Pool,
    code: &mut Vec<Instruction>,
) -> Result<Program, Diagnostic> {
    let Some(tree) = tree else {
        return Ok(Program::default());
    };
    let program = emitter::emit(tree, pool)?;
    let first = u32::try_from(code.len()).expect("ROUTES_MAX programs of INSTRUCTIONS_MAX");
    let len = u16::try_from(program.len()).expect("at most INSTRUCTIONS_MAX");
    code.extend(program);
    Ok(Program { first, len })
}
