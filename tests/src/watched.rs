//! Programs under test, each held to a deadline: one that hangs is killed, and fails its test with what it had said.
//!
//! Tests of other packages bring this file in by its path; it knows nothing but the standard library.

use std::io::{ErrorKind, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a program may take to say or to do what must come.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What somebody writes, read along by a thread of its own: a full pipe holds the writer up no longer than reading takes,
/// and a writer that is silent holds up nobody.
#[derive(Debug)]
pub struct Heard {
    pieces: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
    told: usize,
}

impl Heard {
    /// Reads along until the end.
    pub fn of(mut stream: impl Read + Send + 'static) -> Self {
        let (teller, pieces) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 1 << 13];
            loop {
                match stream.read(&mut piece) {
                    Ok(count) if count > 0 => {
                        if teller.send(piece[..count].to_vec()).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Ok(_) | Err(_) => return,
                }
            }
        });
        Self {
            pieces,
            bytes: Vec::new(),
            told: 0,
        }
    }

    fn nothing() -> Self {
        Self::of(std::io::empty())
    }

    /// Takes in one more piece; false at the end, and when nothing has come by then.
    fn more(&mut self, give_up: Instant) -> bool {
        let left = give_up.saturating_duration_since(Instant::now());
        let piece = self.pieces.recv_timeout(left);
        piece.is_ok_and(|piece| {
            self.bytes.extend(piece);
            true
        })
    }

    /// The next line, or what there is of it at the end; none when there is no more, or nothing has come by then.
    pub fn line(&mut self, give_up: Instant) -> Option<String> {
        let end = loop {
            match self.bytes[self.told..].iter().position(|byte| *byte == b'\n') {
                Some(at) => break self.told + at + 1,
                None if self.more(give_up) => {}
                None => break self.bytes.len(),
            }
        };
        let line = String::from_utf8_lossy(&self.bytes[self.told..end]).into_owned();
        self.told = end;
        (!line.is_empty()).then_some(line)
    }

    /// The next byte; none at the end, and when nothing has come by then.
    pub fn byte(&mut self, give_up: Instant) -> Option<u8> {
        while self.told == self.bytes.len() && self.more(give_up) {}
        let byte = self.bytes.get(self.told).copied();
        self.told += usize::from(byte.is_some());
        byte
    }

    /// Reads to the end; false if that has not come by then.
    pub fn hear_to_the_end(&mut self, give_up: Instant) -> bool {
        while self.more(give_up) {}
        Instant::now() < give_up
    }

    /// All that was heard so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Waits for the end of a process; none if it has not come by then.
pub fn ends(child: &mut Child, give_up: Instant) -> Option<ExitStatus> {
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return Some(status);
        }
        if Instant::now() >= give_up {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Hears both outputs of a process to their ends, and waits for its own.
///
/// # Panics
/// When that takes longer than [`PATIENCE`]. The process is killed first.
pub fn hear_out(child: &mut Child, what: &str, stdout: &mut Heard, stderr: &mut Heard) -> ExitStatus {
    let give_up = Instant::now() + PATIENCE;
    let heard = stdout.hear_to_the_end(give_up) && stderr.hear_to_the_end(give_up);
    let status = heard.then(|| ends(child, give_up)).flatten();
    status.unwrap_or_else(|| {
        // It may have ended, with somebody else at its outputs.
        let _ = child.kill();
        let _ = child.wait();
        let (stdout, stderr) = (stdout.text(), stderr.text());
        panic!("{what} has not ended after {PATIENCE:?}; it said\n{stdout}\nand\n{stderr}")
    })
}

/// Runs a program to its end, as `Command::output` does.
///
/// # Panics
/// When that takes longer than [`PATIENCE`]. The program is killed first.
pub fn output(command: &mut Command) -> Output {
    gather(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Runs a program to its end, and gathers of its outputs what is led here.
///
/// # Panics
/// When that takes longer than [`PATIENCE`]. The program is killed first.
pub fn gather(command: &mut Command) -> Output {
    let mut child = command.spawn().expect("it starts");
    let mut stdout = child.stdout.take().map_or_else(Heard::nothing, Heard::of);
    let mut stderr = child.stderr.take().map_or_else(Heard::nothing, Heard::of);
    let status = hear_out(&mut child, &format!("{command:?}"), &mut stdout, &mut stderr);
    Output {
        status,
        stdout: stdout.bytes,
        stderr: stderr.bytes,
    }
}
