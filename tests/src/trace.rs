//! Reading a trace of system calls: for each acknowledgement, the write that holds the record, the data sync behind it,
//! and only then the reply.

use std::collections::HashMap;

/// Something a client was told, and the words by which its record and its reply are known.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Text that the record holds, and no other one.
    pub record: String,
    /// Text that the reply holds, and no other one: id and seq.
    pub reply: String,
}

/// One call, from the line where it began to the line where it had returned.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    text: String,
    began: usize,
    ended: usize,
}

impl Call {
    /// The file or socket that it was about, as strace names it.
    fn target(&self) -> &str {
        let inner = self.text.split_once('<').map_or("", |(_, rest)| rest);
        inner.split_once('>').map_or("", |(path, _)| path)
    }

    fn succeeded(&self) -> bool {
        self.text
            .rsplit_once("= ")
            .is_some_and(|(_, result)| !result.starts_with('-'))
    }
}

/// Checks that every acknowledgement was written, then synced, then told.
///
/// # Errors
/// What is missing or in the wrong order.
pub fn check(trace: &str, acks: &[Ack]) -> Result<(), String> {
    let calls = calls(trace);
    for ack in acks {
        let written = calls
            .iter()
            .find(|call| is_write(call) && call.target().ends_with(".seg") && call.text.contains(&ack.record))
            .ok_or_else(|| format!("{ack:?} was never written to a segment"))?;
        let told = calls
            .iter()
            .find(|call| is_write(call) && !call.target().ends_with(".seg") && call.text.contains(&ack.reply))
            .ok_or_else(|| format!("{ack:?} was never told"))?;
        let is_between = |call: &&Call| {
            call.name == "fdatasync"
                && call.target() == written.target()
                && call.succeeded()
                && written.ended < call.began
                && call.ended < told.began
        };
        if !calls.iter().any(|call| is_between(&call)) {
            return Err(format!(
                "{ack:?} was written by line {} and told from line {}, with no finished fdatasync of {} between",
                written.ended + 1,
                told.began + 1,
                written.target()
            ));
        }
    }
    Ok(())
}

fn is_write(call: &Call) -> bool {
    [
        "write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg",
    ]
    .contains(&call.name.as_str())
        && call.succeeded()
}

/// The calls of a trace; one that was still under way at its end never returned.
fn calls(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut under_way: HashMap<&str, usize> = HashMap::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            if let Some(index) = under_way.remove(thread) {
                calls[index].text.push_str(resumed);
                calls[index].ended = number;
            }
            continue;
        }
        let Some((name, _)) = rest.split_once('(') else {
            continue;
        };
        let is_unfinished = rest.ends_with("<unfinished ...>");
        if is_unfinished {
            under_way.insert(thread, calls.len());
        }
        calls.push(Call {
            name: name.to_owned(),
            // strace writes quotes inside a text with a backslash before them.
            text: rest.replace("\\\"", "\""),
            began: number,
            ended: if is_unfinished { usize::MAX } else { number },
        });
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: &str = r#"7 pwrite64(9</d/journal/40.seg>, "{\"text\":\"word-1\"}", 17, 64) = 17"#;
    const SYNC: &str = "7 fdatasync(9</d/journal/40.seg>) = 0";
    const REPLY: &str =
        r#"8 writev(11<UNIX-STREAM:[1->2]>, [{iov_base="{\"id\":\"s_1\",\"seq\":3,", iov_len=9}], 1) = 9"#;

    fn checked(lines: &[&str]) -> Result<(), String> {
        let ack = Ack {
            record: "word-1".into(),
            reply: r#""id":"s_1","seq":3,"#.into(),
        };
        check(&lines.join("\n"), &[ack])
    }

    #[test]
    fn written_synced_and_told_is_right() {
        assert_eq!(checked(&[WRITE, SYNC, REPLY]), Ok(()));
    }

    #[test]
    fn a_sync_that_was_moved_is_found() {
        for wrong in [
            vec![WRITE, REPLY, SYNC],
            vec![SYNC, WRITE, REPLY],
            vec![WRITE, REPLY],
            vec![WRITE, &SYNC.replace("40.seg", "80.seg"), REPLY],
            vec![
                WRITE,
                &SYNC.replace("= 0", "= -1 EIO (Input/output error)"),
                REPLY,
            ],
        ] {
            assert!(checked(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_sync_that_had_not_returned_is_no_sync() {
        let (began, ended) = (
            "7 fdatasync(9</d/journal/40.seg> <unfinished ...>",
            "7 <... fdatasync resumed>) = 0",
        );
        assert_eq!(checked(&[WRITE, began, ended, REPLY]), Ok(()));
        assert!(checked(&[WRITE, began, REPLY, ended]).is_err());
    }
}
