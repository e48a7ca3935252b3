//! Lines with a cap.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line outgrew the cap; the rest cannot be trusted to begin anywhere.
    #[error("a line outgrew {0} bytes")]
    TooLong(usize),
    /// The peer left in the middle of a line.
    #[error("the peer left in the middle of a line")]
    Torn,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads one line, newline included, into `line`. False: the peer is done.
pub async fn read_line<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    bytes_max: usize,
    line: &mut Vec<u8>,
) -> Result<bool, LineError> {
    line.clear();
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return if line.is_empty() {
                Ok(false)
            } else {
                Err(LineError::Torn)
            };
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        if line.len() + taken > bytes_max {
            return Err(LineError::TooLong(bytes_max));
        }
        line.extend_from_slice(&buffer[..taken]);
        reader.consume(taken);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines_of(bytes: &[u8], bytes_max: usize) -> (Vec<Vec<u8>>, Option<LineError>) {
        let mut reader = tokio::io::BufReader::with_capacity(3, bytes);
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        loop {
            match read_line(&mut reader, bytes_max, &mut line).await {
                Ok(true) => lines.push(line.clone()),
                Ok(false) => return (lines, None),
                Err(error) => return (lines, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn lines_come_one_by_one_whatever_the_reads_are() {
        let (lines, error) = lines_of(b"one\n\nthree and more\n", 64).await;
        assert_eq!(lines, [&b"one\n"[..], b"\n", b"three and more\n"]);
        assert!(error.is_none());
    }

    #[tokio::test]
    async fn a_line_may_fill_the_cap_and_no_more() {
        assert!(lines_of(b"1234567\n", 8).await.1.is_none());
        assert!(matches!(
            lines_of(b"12345678\n", 8).await.1,
            Some(LineError::TooLong(8))
        ));
        assert!(matches!(
            lines_of(b"endless and no newline", 8).await.1,
            Some(LineError::TooLong(8))
        ));
    }

    #[tokio::test]
    async fn half_a_line_is_no_line() {
        let (lines, error) = lines_of(b"one\ntw", 64).await;
        assert_eq!(lines.len(), 1);
        assert!(matches!(error, Some(LineError::Torn)));
    }
}
