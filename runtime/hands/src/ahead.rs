//! What a shim does before it knows its command, where it can be known what will be needed: a control group, and an init in
//! namespaces of its own inside that group, behind all of its walls that are the same for every command. With version 1 of
//! control groups the move into one waits for the kernel's grace periods, a network namespace takes most of a millisecond,
//! and the system's part of the root another; what has happened by then is waited for by nobody.
//!
//! Nothing of a session is in it, so that it may be undone at any time. It is of use for one command, and only for one that
//! would have been given the same.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::isolate::Frame;
use crate::launcher::Sandbox;
use crate::limits::{Group, Groups, name_ahead};
use crate::procs;
use crate::spec::Spec;

/// What a command will need, as far as that can be said before it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// What its walls have in common with those of others, if it has any, and a network of its own.
    frame: Option<Frame>,
    /// Where its control group is made, if it is walled. Without walls it moves there by itself.
    groups: Option<Groups>,
}

impl Shape {
    /// That of a command.
    pub(crate) fn of(spec: &Spec) -> Self {
        let walls = spec.walls.as_ref().filter(|walls| walls.beside.is_none());
        Self {
            frame: walls.map(Frame::of),
            groups: spec.groups.clone().filter(|_| walls.is_some()),
        }
    }

    /// Where its control group is made ahead, if any is.
    pub(crate) fn groups(&self) -> Option<&Groups> {
        self.groups.as_ref()
    }
}

/// What is there of a command that nobody has named yet. Dropped, it is undone.
pub(crate) struct Ahead {
    shape: Shape,
    sandbox: Option<Sandbox>,
    group: Option<(String, Group)>,
    /// Tells whether anything was mounted since the sandbox took its copy of all mounts.
    mounts: File,
    /// What the machine shows, as it lay when the sandbox took hold of it.
    shown: Vec<Option<(u64, u64)>>,
}

impl Ahead {
    /// Makes what commands of this shape need, if there is anything of the kind. `channel` is kept out of it.
    ///
    /// # Errors
    /// Nothing is left of what was begun.
    pub(crate) fn make(shape: Shape, channel: OwnedFd) -> io::Result<(Option<Self>, OwnedFd)> {
        let Some(frame) = shape.frame.clone() else {
            return Ok((None, channel));
        };
        let mut ahead = Self {
            sandbox: None,
            group: None,
            mounts: File::open("/proc/self/mountinfo")?,
            shown: frame.shown(),
            shape,
        };
        if let Some(groups) = &ahead.shape.groups {
            let name = name_ahead(&procs::myself()?);
            let group = Group::make(groups, &name)?;
            ahead.group = Some((name, group));
        }
        let group = ahead.group.as_ref().map(|(_, group)| group);
        let (sandbox, channel) = Sandbox::prepare(&frame, group, channel)?;
        ahead.sandbox = Some(sandbox);
        Ok((Some(ahead), channel))
    }

    /// Whether it is as if it had been made for this command, just now.
    pub(crate) fn suits(&self, spec: &Spec) -> bool {
        self.shape == Shape::of(spec) && self.is_alive() && !self.is_outdated()
    }

    /// Whether its sandbox is still there.
    pub(crate) fn is_alive(&self) -> bool {
        self.sandbox.as_ref().is_some_and(Sandbox::is_alive)
    }

    /// What was mounted meanwhile may not be seen from inside, and the workspace could be there. A file that was replaced is
    /// still the old one in there.
    fn is_outdated(&self) -> bool {
        if self
            .shape
            .frame
            .as_ref()
            .is_none_or(|frame| frame.shown() != self.shown)
        {
            return true;
        }
        let mut polled = [PollFd::new(&self.mounts, PollFlags::PRI)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        !matches!(poll(&mut polled, Some(&now)), Ok(0))
    }

    /// Names the command in `dir` to the sandbox, with the text of its spec. The rest of the walls is built from here on; nothing
    /// of the command executes.
    pub(crate) fn order(&mut self, dir: &Path, spec: &Spec, text: &File) -> io::Result<()> {
        match &mut self.sandbox {
            Some(sandbox) => sandbox.order(dir, spec, text),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The name of its control group.
    pub(crate) fn group_name(&self) -> Option<&str> {
        self.group.as_ref().map(|(name, _)| name.as_str())
    }

    /// Gives it away, to whoever undoes it now.
    pub(crate) fn into_parts(mut self) -> (Option<Sandbox>, Option<Group>) {
        (self.sandbox.take(), self.group.take().map(|(_, group)| group))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // First what is in the group.
        drop(self.sandbox.take());
        if let Some((_, mut group)) = self.group.take() {
            group.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walls::Walls;

    /// Its network is the service's, not one that was made ahead.
    #[test]
    fn a_command_beside_a_service_is_of_another_shape_than_one_with_a_network_of_its_own() {
        let mut spec = Spec::shell("s1", 2, "true", Path::new("/w"), Path::new("/p"));
        let bare = Shape::of(&spec);
        spec.walls = Some(Walls::default());
        let walled = Shape::of(&spec);
        assert!(walled.frame.is_some() && walled != bare);
        if let Some(walls) = &mut spec.walls {
            walls.stand_beside(Path::new("/steps/1"), 1);
        }
        assert_eq!(Shape::of(&spec), bare);
    }
}
