//! What ends processes.

use super::Walk;
use super::command::shown;
use crate::shell::expand::Field;

impl Walk<'_> {
    /// `kill`: an agent ends what it began. The first process, and all that may be ended, are others' affair.
    pub(super) fn kill(&mut self, args: &[Field], fields: &[Field]) {
        let mut rest = args.iter().map(|arg| arg.text.as_str()).peekable();
        // The signal comes first, and may look like a process: `kill -1 123`.
        match rest.peek() {
            Some(&("-s" | "-n" | "--signal")) => {
                rest.nth(1);
            }
            Some(option) if option.starts_with('-') && *option != "--" => {
                rest.next();
            }
            _ => {}
        }
        let all = rest.any(|process| matches!(process.parse(), Ok(1_i64 | -1)));
        match all {
            true => self.unknown(
                "system-process",
                format!("{}: ends what others rely on", shown(fields)),
            ),
            false => self.ordinary_command("ordinary", fields),
        }
    }
}
