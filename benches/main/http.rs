//! An HTTP/1.1 reader that costs little: blocking sockets, kept open, one thread for all of them.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use anyhow::{Context, Result, ensure};

const BUFFER_BYTES: usize = 1024 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A request for `target`.
pub(crate) fn request(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// One connection to a server on this machine.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER_BYTES] })
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request)?)
    }

    /// Reads one answer, which must be 200, and gives its body to `sink`; returns the body's length.
    pub(crate) fn receive(&mut self, mut sink: impl FnMut(&[u8])) -> Result<u64> {
        let (head_bytes, filled) = self.receive_head()?;
        let head = self.buffer.get(..head_bytes).unwrap_or_default();
        ensure!(status(head)? == 200, "refused: {}", String::from_utf8_lossy(head));
        let length = content_length(head)?;
        let first = self.buffer.get(head_bytes..filled).unwrap_or_default();
        sink(first);
        let mut received = first.len() as u64;
        while received < length {
            let read = self.stream.read(&mut self.buffer)?;
            ensure!(read > 0, "the connection ended after {received} of {length} bytes");
            sink(self.buffer.get(..read).unwrap_or_default());
            received += read as u64;
        }
        ensure!(received == length, "more than the {length} bytes announced");
        Ok(length)
    }

    /// The status of the answer to `request`, on a connection that is not used again.
    pub(crate) fn status_of(mut self, request: &[u8]) -> Result<u16> {
        self.send(request)?;
        let (head_bytes, _) = self.receive_head()?;
        status(self.buffer.get(..head_bytes).unwrap_or_default())
    }

    /// Fills the buffer until it holds a whole head; returns where that ends, and how much is filled.
    fn receive_head(&mut self) -> Result<(usize, usize)> {
        let mut filled = 0;
        loop {
            let free = self.buffer.get_mut(filled..).unwrap_or_default();
            let read = self.stream.read(free)?;
            ensure!(read > 0, "the connection ended within a head");
            filled += read;
            let seen = self.buffer.get(..filled).unwrap_or_default();
            if let Some(end) = find(seen, HEAD_END) {
                return Ok((end + HEAD_END.len(), filled));
            }
        }
    }
}

fn status(head: &[u8]) -> Result<u16> {
    let text = head.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
    Ok(std::str::from_utf8(text.context("no answer of HTTP/1.1")?)?.parse()?)
}

fn content_length(head: &[u8]) -> Result<u64> {
    let name = b"content-length: ";
    let is_name = |window: &[u8]| window.eq_ignore_ascii_case(name);
    let at = head.windows(name.len()).position(is_name).context("no content-length")?;
    let value = head.get(at + name.len()..).unwrap_or_default();
    let value = value.get(..find(value, b"\r").unwrap_or_default()).unwrap_or_default();
    Ok(std::str::from_utf8(value)?.parse()?)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
