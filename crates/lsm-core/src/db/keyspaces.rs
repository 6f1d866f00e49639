//! Keyspaces, made and dropped.

use std::sync::Arc;

use lsm_log::error::{Error, Result};
use lsm_log::wal::Log;
use parking_lot::MutexGuard;

use super::engine::Engine;
use super::open::DEFAULT_KEYSPACE;
use super::tree::Tree;
use super::write_queue::Commit;
use crate::key::KeyspaceId;
use crate::options::{KEYSPACE_NAME_LEN_MAX, KEYSPACES_MAX, KeyspaceOptions};
use crate::version::{Edit, KeyspaceEdit};

impl Engine {
    /// The keyspace called `name`, made if need be; without options, by those stored.
    pub(crate) fn keyspace(
        &self,
        name: &str,
        options: impl Into<Option<KeyspaceOptions>>,
    ) -> Result<Arc<Tree>> {
        self.lifecycle.check_open()?;
        let options = options.into();
        options.as_ref().map_or(Ok(()), KeyspaceOptions::validate)?;
        if !(1..=KEYSPACE_NAME_LEN_MAX).contains(&name.len()) {
            return Err(Error::invalid(format!(
                "the name of a keyspace has from 1 to {KEYSPACE_NAME_LEN_MAX} bytes, not {}",
                name.len()
            )));
        }
        // One at a time; and no write is numbered between the edit and the tree.
        let _commit = self.commit.lock();
        if let Some(tree) = self.trees.named(name) {
            if let Some(options) = options
                && *tree.super_version().options != options
            {
                self.set_options(&tree, options)?;
            }
            return Ok(tree);
        }
        if self.lifecycle.read_only {
            let message = format!("there is no keyspace \"{name}\", and a reader makes none");
            return Err(Error::invalid(message));
        }
        self.lifecycle.check_writable()?;
        if self.trees.len() >= KEYSPACES_MAX {
            let message = format!("the database has its {KEYSPACES_MAX} keyspaces already");
            return Err(Error::invalid(message));
        }
        let id = KeyspaceId(self.set.with(|catalog| catalog.next_keyspace));
        let options = options.unwrap_or_default();
        let create = Edit {
            create_keyspaces: vec![(id, name.to_owned())],
            keyspaces: vec![KeyspaceEdit::of_options(id, &options)],
            ..Edit::default()
        };
        self.set.apply(create, |_| {}).map_err(|error| self.fail_with_manifest(error))?;
        let tree =
            Arc::new(Tree::new(id, name, options, Arc::default(), &self.memory, &self.metrics));
        self.trees.insert(&tree);
        Ok(tree)
    }

    /// Stores the settings of a keyspace and puts them in force; in force only, where nothing may
    /// be written.
    fn set_options(&self, tree: &Arc<Tree>, options: KeyspaceOptions) -> Result<()> {
        if !self.lifecycle.read_only {
            self.lifecycle.check_writable()?;
            let edit = Edit {
                keyspaces: vec![KeyspaceEdit::of_options(tree.id, &options)],
                ..Edit::default()
            };
            self.set.apply(edit, |_| {}).map_err(|error| self.fail_with_manifest(error))?;
        }
        tree.set_options(options);
        self.changed(tree);
        // Other limits may let writers go on, or give compaction something to do.
        self.update_pressure();
        self.work.announce();
        Ok(())
    }

    pub(crate) fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.lifecycle.check_writable()?;
        if name == DEFAULT_KEYSPACE {
            return Err(Error::invalid("the default keyspace cannot be dropped"));
        }
        let commit = self.durable_commit()?;
        let tree = self.trees.named(name);
        let tree =
            tree.ok_or_else(|| Error::invalid(format!("there is no keyspace \"{name}\"")))?;
        // Let go of at the end: to free gigabytes that are mapped or in memory takes long.
        let held = tree.pinned();
        let was_unflushed = held.memtables().any(|memtable| !memtable.is_empty());
        let edit = Edit { drop_keyspaces: vec![tree.id], ..Edit::default() };
        // Marked in the moment the edit takes effect: a job whose edit comes next and finds no
        // such keyspace must see that it was dropped.
        let dropped = self.set.apply(edit, |_| tree.mark_dropped());
        dropped.map_err(|error| self.fail_with_manifest(error))?;
        self.trees.remove(&tree);
        self.changed(&tree);
        self.release_put_off(|plan| plan.tree == tree.id);
        // With its memtables gone, everything may be flushed further than before. A flush finds
        // out, if need be one of nothing: the first in the queue may have looked already.
        if was_unflushed && self.work.lock().flushes.len() < 2 {
            self.queue_flush(&commit, Vec::new(), None);
        }
        drop(commit);
        drop(held);
        // It may be what writers waited for.
        self.update_pressure();
        self.work.announce();
        Ok(())
    }

    /// The commit lock, once every write so far survives power loss: what is dropped next must
    /// not be gone after a crash that also takes what was written before.
    fn durable_commit(&self) -> Result<MutexGuard<'_, Commit>> {
        // Most of the work without holding writers up.
        drop(self.logged()?);
        self.sync_all()?;
        let commit = self.logged()?;
        // A close may have come first.
        self.lifecycle.check_writable()?;
        let end = commit.log.as_ref().map(Log::end);
        end.map_or(Ok(()), |end| self.sync_log(end))?;
        Ok(commit)
    }
}

#[cfg(test)]
#[path = "keyspaces_test.rs"]
mod tests;
