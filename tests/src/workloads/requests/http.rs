//! As much of HTTP/1.1 as the workloads speak: `GET` without a body, and answers with a length.

/// The answer to every request.
pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Most bytes of one request.
pub const LONGEST: usize = 128 * 1024;

const METHOD: &[u8] = b"GET ";
const VERSION: &[u8] = b" HTTP/1.1";
const END: &[u8] = b"\r\n\r\n";

/// A request for a path.
pub fn request(path: &[u8]) -> Vec<u8> {
    [METHOD, path, VERSION, b"\r\nHost: x", END].concat()
}

/// Bytes that were received, and are not a whole request yet.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// So many of them do not contain the end of a request.
    searched: usize,
}

/// These bytes are no request.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRequest;

impl Inbox {
    /// Adds what was received.
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The path of the next whole request, which is taken out.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, NoRequest> {
        let begun = self.bytes.len().min(METHOD.len());
        if self.bytes[..begun] != METHOD[..begun] || self.bytes.len() > LONGEST {
            return Err(NoRequest);
        }
        let Some(end) = find(&self.bytes[self.searched..], END) else {
            self.searched = self.bytes.len().saturating_sub(END.len() - 1);
            return Ok(None);
        };
        let head: Vec<u8> = self.bytes.drain(..self.searched + end + END.len()).collect();
        self.searched = 0;
        path_of(&head).map(<[u8]>::to_vec).map(Some).ok_or(NoRequest)
    }
}

fn path_of(head: &[u8]) -> Option<&[u8]> {
    let line = &head[..find(head, b"\r\n")?];
    let path = line.strip_prefix(METHOD)?.strip_suffix(VERSION)?;
    (path.first() == Some(&b'/') && !path.contains(&b' ')).then_some(path)
}

/// Length of the answer that these bytes begin with, once its head is whole.
pub fn answer_length(bytes: &[u8]) -> Option<usize> {
    const LENGTH: &[u8] = b"content-length:";
    let end = find(bytes, END)?;
    let length_of = |line: &[u8]| {
        let (name, value) = line.split_at_checked(LENGTH.len())?;
        let value = name.eq_ignore_ascii_case(LENGTH).then_some(value)?;
        std::str::from_utf8(value).ok()?.trim().parse::<usize>().ok()
    };
    let body = bytes[..end].split(|&byte| byte == b'\n').find_map(length_of)?;
    (end + END.len()).checked_add(body)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(bytes: &[u8]) -> Inbox {
        let mut inbox = Inbox::default();
        inbox.put(bytes);
        inbox
    }

    #[test]
    fn requests_one_after_another() {
        let mut inbox = inbox(&[request(b"/a"), request(b"/\xff\0\x1b[2J")].concat());
        assert_eq!(inbox.take(), Ok(Some(b"/a".to_vec())));
        assert_eq!(inbox.take(), Ok(Some(b"/\xff\0\x1b[2J".to_vec())));
        assert_eq!(inbox.take(), Ok(None));
    }

    #[test]
    fn a_request_in_pieces() {
        let whole = request(b"/pieces");
        let mut inbox = Inbox::default();
        let (last, others) = whole.split_last().unwrap();
        for byte in others {
            inbox.put(&[*byte]);
            assert_eq!(inbox.take(), Ok(None));
        }
        inbox.put(&[*last]);
        assert_eq!(inbox.take(), Ok(Some(b"/pieces".to_vec())));
    }

    #[test]
    fn what_is_no_request() {
        let bad: [&[u8]; 6] = [
            b"\0\0",
            b"POST / HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET a b HTTP/1.1\r\n\r\n",
            b"GET  HTTP/1.1\r\n\r\n",
        ];
        for bytes in bad {
            assert_eq!(inbox(bytes).take(), Err(NoRequest), "{}", bytes.escape_ascii());
        }
        assert_eq!(inbox(&request(&[b'/'; LONGEST])).take(), Err(NoRequest));
    }

    #[test]
    fn the_length_of_an_answer() {
        assert_eq!(answer_length(ANSWER), Some(ANSWER.len()));
        assert_eq!(answer_length(&ANSWER[..ANSWER.len() - 3]), None);
        assert_eq!(answer_length(b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n"), Some(37));
        assert_eq!(answer_length(b"HTTP/1.1 200 OK\r\n\r\n"), None);
        let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", usize::MAX);
        assert_eq!(answer_length(huge.as_bytes()), None);
    }
}
