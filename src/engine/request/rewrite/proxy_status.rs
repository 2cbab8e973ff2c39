//! `Proxy-Status` of an upstream (RFC 9209), read as a list of structured fields (RFC 9651, section 3.1). Only tollgate speaks
//! for tollgate: clients tell its errors from the upstream's by this field.

/// The name of tollgate's own members.
const OWN_NAME: &[u8] = b"tollgate";

/// True if a member of the list is named like tollgate's own, as a token or as a string, or if it cannot be parsed: then a
/// lenient client might read such a member.
pub(super) fn may_name_us(field: &[u8]) -> bool {
    let mut rest = field;
    loop {
        let Some((name, after)) = member(rest) else { return true };
        if name.trim_ascii().eq_ignore_ascii_case(OWN_NAME) {
            return true;
        }
        match after {
            [] => return false,
            [_, next @ ..] => rest = next,
        }
    }
}

/// The name of the first member, and the text from the comma after it. None if it is malformed.
fn member(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let name_end = if text.first() == Some(&b'"') {
        string_end(text)?
    } else {
        text.iter().position(|byte| b";, \t".contains(byte)).unwrap_or(text.len())
    };
    let (name, mut rest) = text.split_at(name_end);
    let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
    if name.is_empty() || name.iter().any(|byte| !(b' '..=b'~').contains(byte) || b"\"\\".contains(byte)) {
        return None;
    }
    // The parameters: only strings may hold a comma.
    loop {
        match rest {
            [] | [b',', ..] => return Some((name, rest)),
            [b'"', ..] => rest = &rest[string_end(rest)?..],
            [b'\t' | b' '..=b'~', after @ ..] => rest = after,
            _ => return None,
        }
    }
}

/// The end of the string that `text` begins with.
fn string_end(text: &[u8]) -> Option<usize> {
    let mut bytes = text.iter().enumerate().skip(1);
    loop {
        match bytes.next()? {
            (end, b'"') => return Some(end + 1),
            (_, b'\\') => {
                bytes.next().filter(|(_, byte)| b"\"\\".contains(byte))?;
            }
            (_, b' '..=b'~') => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_claim_to_be_ours() {
        let check = |field: &str, expected: bool| {
            assert_eq!(may_name_us(field.as_bytes()), expected, "{field}");
        };
        for theirs in [
            "edge",
            "edge; error=dns_error",
            "\"edge\"; details=\"tollgate\"",
            "edge; details=\"a, tollgate; b\"",
            "edge; details=\"a \\\", tollgate; \\\\\"",
            "edge;next-hop=tollgate, \"a.example\";received-status=503",
            "tollgates; error=dns_error, x-tollgate",
            "\"not tollgate\"",
        ] {
            check(theirs, false);
        }
        for ours in [
            "tollgate",
            "Tollgate; error=dns_error",
            "\"tollgate\"; error=dns_error",
            "\"TollGate\"",
            "\" tollgate \"",
            "edge, tollgate",
            "edge; details=\"x\" ,\t\"tollgate\";a=1",
            "edge; details=\"a\\\\\", tollgate",
            "tollgate , edge",
            // Malformed.
            "",
            "edge,",
            ", edge",
            "edge; details=\"x",
            "\"edge",
            "edge; details=\"a\\b\"",
            "\"toll\\gate\"",
            "\u{e4}",
            "edge; details=\"\u{e4}\"",
        ] {
            check(ours, true);
        }
    }
}
