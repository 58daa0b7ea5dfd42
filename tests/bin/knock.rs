//! Asks the control socket directly, as a program does that an agent wrote for itself: `knock SOCKET PATH BODY`.
//!
//! Prints the status line and the last line of the answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [socket, path, body] = words.as_slice() else {
        eprintln!("knock SOCKET PATH BODY");
        return ExitCode::from(2);
    };
    match knock(socket, path, body) {
        Ok(answer) => {
            let (first, last) = (answer.lines().next(), answer.lines().last());
            println!("{} {}", first.unwrap_or_default(), last.unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn knock(socket: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: longhaul\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
