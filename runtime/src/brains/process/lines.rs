//! Lines of a stream with a bound on their length.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Reads lines of at most `cap` bytes.
pub(super) struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    cap: usize,
}

/// One read.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// A line without its end.
    Whole(Vec<u8>),
    /// More than the cap came without a line end.
    TooLong,
    /// The stream has ended; what stood after the last line end is dropped.
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R, cap: usize) -> Self {
        Self {
            from: BufReader::new(from),
            line: Vec::new(),
            cap,
        }
    }

    /// Reads the next line.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> io::Result<Line> {
        loop {
            let bytes = self.from.fill_buf().await?;
            if bytes.is_empty() {
                return Ok(Line::End);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(bytes.len());
            if self.line.len() + taken > self.cap {
                return Ok(Line::TooLong);
            }
            self.line.extend_from_slice(&bytes[..taken]);
            self.from.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(Line::Whole(std::mem::take(&mut self.line)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_or_are_refused() {
        let mut lines = Lines::new(&b"one\n\ntwelve345678\nrest"[..], 12);
        assert_eq!(lines.next().await.expect("memory"), Line::Whole(b"one".into()));
        assert_eq!(lines.next().await.expect("memory"), Line::Whole(Vec::new()));
        assert_eq!(
            lines.next().await.expect("memory"),
            Line::Whole(b"twelve345678".into())
        );
        assert_eq!(lines.next().await.expect("memory"), Line::End);
        let mut lines = Lines::new(&b"thirteen56789\n"[..], 12);
        assert_eq!(lines.next().await.expect("memory"), Line::TooLong);
    }
}
