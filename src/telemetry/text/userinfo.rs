//! Userinfo in a URI that is written to a log, where none may be.

/// Splits a URI around its userinfo, `@` left out; `None` when it has none.
///
/// A refused target can be one that no two parsers read alike. So when what
/// stands before the path is no `host:port`, everything up to the last `@`
/// counts as userinfo: `http://user:pa/ss@host/`.
pub(super) fn split_userinfo(uri: &[u8]) -> Option<(&[u8], &[u8])> {
    if !uri.contains(&b'@') || matches!(uri.first(), Some(b'/' | b'?')) {
        return None;
    }
    let scheme = uri
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'+' | b'-' | b'.'));
    let start = scheme
        .filter(|&end| uri.get(end..).is_some_and(|rest| rest.starts_with(b"://")))
        .map_or(0, |end| end + 3);
    let (before, rest) = uri.split_at_checked(start)?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\'))
        .unwrap_or(rest.len());
    let (authority, _) = rest.split_at_checked(end)?;
    let at = match authority.iter().rposition(|&byte| byte == b'@') {
        Some(at) => at,
        None if is_host_port(authority) => return None,
        None => rest.iter().rposition(|&byte| byte == b'@')?,
    };
    Some((before, rest.get(at + 1..)?))
}

/// Whether this can be a host with or without a port, seen from afar.
fn is_host_port(authority: &[u8]) -> bool {
    let port = match authority.strip_prefix(b"[") {
        // The colons of `[::1]` are not before a port.
        Some(rest) => {
            let literal = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            let bracket = rest.iter().position(|byte| !literal(byte));
            match bracket.and_then(|at| rest.get(at..)) {
                Some([b']', port @ ..]) => Some(port),
                _ => return false,
            }
        }
        None => authority
            .iter()
            .position(|&byte| byte == b':')
            .and_then(|colon| authority.get(colon..)),
    };
    match port {
        None | Some([]) => true,
        Some([b':', digits @ ..]) => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    }
}
