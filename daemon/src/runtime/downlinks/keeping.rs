//! Keeps a copy of each command, and tells once if it cannot.

use std::sync::{Arc, Mutex};

use tributary_core::Offset;

use crate::io::clock::moment;
use crate::io::segments::SegmentReader;
use crate::runtime::commands::{FileCommands, Fresh};
use crate::sync::lock;

/// The stream of commands beside the input. Its work blocks for as long as the disk takes.
#[derive(Clone)]
pub(in crate::runtime) struct Keeping {
    pub(super) commands: Arc<Mutex<FileCommands>>,
    input: SegmentReader,
    /// Why some have no copy; they stand in the input.
    unkept: Option<String>,
}

impl Keeping {
    pub(in crate::runtime) fn new(
        commands: Arc<Mutex<FileCommands>>,
        input: SegmentReader,
    ) -> Self {
        Self { commands, input, unkept: None }
    }

    /// Why some have no copy.
    pub(super) fn unkept(&self) -> Option<String> {
        self.unkept.clone()
    }

    /// Copies what stands in the input and has no copy. Before `began` there were no commands: no topic was
    /// ever read.
    pub(super) fn settle(&mut self, began: Option<Offset>) {
        let end = self.input.end();
        let from = if began.is_some() { Offset(0) } else { end.offset };
        self.work(|commands, input| commands.settle(moment(), (input, end), from));
    }

    /// Copies commands that are durable in the input.
    pub(super) fn keep(&mut self, fresh: &[Fresh<'_>]) {
        if self.unkept.is_some() {
            return self.settle(Some(Offset(0)));
        }
        self.work(|commands, _| commands.keep(moment(), fresh));
    }

    /// All that is durable below `end` was kept.
    pub(super) fn pass(&mut self, end: Offset) {
        if self.unkept.is_none() {
            self.work(|commands, _| commands.pass(moment(), end));
        }
    }

    fn work(&mut self, work: impl FnOnce(&mut FileCommands, &SegmentReader) -> Result<(), String>) {
        let done = tokio::task::block_in_place(|| work(&mut lock(&self.commands), &self.input));
        if let Err(why) = &done
            && self.unkept.is_none()
        {
            tracing::error!(why);
        }
        self.unkept = done.err();
    }
}
