//! SIGHUP: what a changed configuration puts into force at once, and what waits for the next start.

use std::path::Path;

use super::Failure;
use super::retention::Policy;
use super::server::{Server, compile};
use crate::config::{Config, Log};

impl Server {
    /// Reads the configuration again. A broken one changes nothing.
    pub(super) async fn reload(&self) {
        let Some(path) = self.path.as_deref() else {
            tracing::warn!("nothing to reload: started without a configuration file");
            return;
        };
        match self.try_reload(path).await {
            Ok(()) => tracing::info!(path = %path.display(), "configuration reloaded"),
            Err(why) => tracing::error!("the configuration stays as it was: {why}"),
        }
    }

    async fn try_reload(&self, path: &Path) -> Result<(), String> {
        let describe = |failure: Failure| match failure {
            Failure::Directory(why) | Failure::Other(why) => why,
        };
        let config = Config::load(path).map_err(|problems| problems.to_string())?;
        let wanted = compile(&config).map_err(describe)?;
        let mut waiting = self.doors.reload(&config);
        self.daemon.hub.wake_all();
        self.committer.follow(Policy::of(&config.log), config.log.commit_delay);
        if config.gateway.as_ref().is_some_and(|name| *name != self.daemon.constants.gateway) {
            waiting.push("`gateway`".to_owned());
        }
        waiting.extend(waiting_of_log(&self.started.log, &config.log));
        if !waiting.is_empty() {
            tracing::warn!("these changes wait for the next start: {}", waiting.join("; "));
        }
        self.apply(wanted, &config).await.map_err(describe)?;
        self.take_from(&config).await;
        Ok(())
    }
}

/// What of `[log]` is as it was at the start.
fn waiting_of_log(started: &Log, wanted: &Log) -> Vec<String> {
    let Log { dir, bytes_max, volatile, max_age: _, when_full: _, commit_delay: _ } = wanted;
    let keys = [
        ("dir", *dir != started.dir),
        ("size", *bytes_max != started.bytes_max),
        ("volatile", *volatile != started.volatile),
    ];
    let changed = keys.into_iter().filter(|(_, is_changed)| *is_changed);
    changed.map(|(key, _)| format!("`{key}` of `[log]`")).collect()
}
