//! Asks the control socket directly, as a program does that an agent wrote for itself: `knock SOCKET PATH BODY [TOKEN]`.
//!
//! Prints the status line and the last line of the answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (socket, path, body, token) = match words.as_slice() {
        [socket, path, body] => (socket, path, body, None),
        [socket, path, body, token] => (socket, path, body, Some(token)),
        _ => {
            eprintln!("knock SOCKET PATH BODY [TOKEN]");
            return ExitCode::from(2);
        }
    };
    let shown = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    match knock(socket, path, &shown.unwrap_or_default(), body) {
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

fn knock(socket: &str, path: &str, headers: &str, body: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: longhaul\r\nconnection: close\r\ncontent-type: application/json\r\n\
         {headers}content-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
