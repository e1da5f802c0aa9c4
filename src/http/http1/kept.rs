//! A copy of a request head, for rules, hooks and scripts that read it while Pingora has the head itself.

use memchr::memchr;

use super::RequestHead;
use super::fields::Fields;

/// The request-target and the field lines of a head, without the credentials for this proxy.
///
/// The lines are those of the wire head before Tollgate adds its own. `Debug` shows none of them, since they may hold
/// secrets of the origin's.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptHead {
    bytes: Box<[u8]>,
    target: (u32, u32),
    fields: u32,
}

impl KeptHead {
    /// Copies what `head` still has.
    pub fn of(head: &RequestHead) -> Self {
        let bytes: Box<[u8]> = head.wire_head.as_ref().into();
        // A head has at most some megabytes: `max_head` is limited.
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let start = head.method.as_str().len() + 1;
        let end = start + head.request_target().len();
        let fields = memchr(b'\n', &bytes).map_or(bytes.len(), |end| end + 1);
        Self {
            target: (place(start), place(end)),
            fields: place(fields),
            bytes,
        }
    }

    /// The request-target as it goes on: origin-form or `*`; of CONNECT, the authority.
    pub fn target(&self) -> &[u8] {
        let (start, end) = self.target;
        let target = self.bytes.get(start as usize..end as usize);
        target.unwrap_or_default()
    }

    /// The path of the target; none for CONNECT and `*`.
    pub fn path(&self) -> Option<&[u8]> {
        let target = self.target();
        let end = memchr(b'?', target).unwrap_or(target.len());
        target.get(..end).filter(|path| path.starts_with(b"/"))
    }

    /// What follows the first `?` of the target; none without one.
    pub fn query(&self) -> Option<&[u8]> {
        let target = self.target();
        self.path()?;
        target.get(memchr(b'?', target)? + 1..)
    }

    /// The field lines in order: name and value.
    pub fn fields(&self) -> Fields<'_> {
        Fields::new(self.bytes.get(self.fields as usize..).unwrap_or_default())
    }

    /// The values of the field lines with this name, in any case.
    pub fn values<'a>(&'a self, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        self.fields().of(name)
    }
}

impl std::fmt::Debug for KeptHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptHead").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::HeadLimits;
    use super::*;

    fn kept(head: &str) -> KeptHead {
        let head = RequestHead::parse(head.as_bytes().into(), &HeadLimits::default());
        KeptHead::of(&head.unwrap())
    }

    #[test]
    fn has_target_and_fields_and_no_credentials() {
        let head = kept(
            "GET http://h/a?b?c HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic YTpi\r\nX-A: 1\r\nx-a:  2 \r\n\r\n",
        );
        assert_eq!(head.target(), b"/a?b?c");
        assert_eq!(
            (head.path(), head.query()),
            (Some(&b"/a"[..]), Some(&b"b?c"[..]))
        );
        let values: Vec<_> = head.values(b"X-a").collect();
        assert_eq!(values, [b"1", b"2"]);
        let names: Vec<_> = head.fields().map(|(name, _)| name).collect();
        assert_eq!(names, [&b"Host"[..], b"X-A", b"x-a"]);
        assert_eq!(format!("{head:?}"), "KeptHead { .. }");
    }

    #[test]
    fn targets_without_a_path() {
        let head = kept(
            "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nProxy-Authorization: Basic YTpi\r\nA: b\r\n\r\n",
        );
        assert_eq!((head.target(), head.path()), (&b"h:443"[..], None));
        assert_eq!(head.values(b"proxy-authorization").count(), 0);
        assert_eq!(head.values(b"a").next(), Some(&b"b"[..]));
        let head = kept("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(
            (head.target(), head.path(), head.query()),
            (&b"*"[..], None, None)
        );
        let head = kept("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(head.path(), Some(&b"/"[..]));
        // The gateway's own credentials are gone, an upstream's are kept.
        let head = kept("GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTpi\r\n\r\n");
        assert_eq!(head.values(b"authorization").count(), 0);
    }

    #[test]
    fn a_name_is_all_of_a_name() {
        let head = kept("GET /a HTTP/1.1\r\nHost: h\r\na:b:c\r\nab: \r\nabc:1\r\n\r\n");
        let first = |name: &str| head.values(name.as_bytes()).next();
        assert_eq!(
            (first("a"), first("A")),
            (Some(&b"b:c"[..]), Some(&b"b:c"[..]))
        );
        assert_eq!(
            (first("ab"), first("abc")),
            (Some(&b""[..]), Some(&b"1"[..]))
        );
        for name in ["", "a:b", "a:", "abcd", "b", "hos", "hostt"] {
            assert_eq!(first(name), None, "{name:?}");
        }
    }
}
