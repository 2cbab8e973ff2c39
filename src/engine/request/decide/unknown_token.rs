//! The three causes of a refused token: there is none, it has not the form of one, or it is not valid here. Each has a code
//! and a message of its own.
//!
//! It guarantees: the cause depends on the request and on provider files alone, never on the tokens that exist, so that a
//! guesser learns nothing; and no message repeats a part of the token. It never looks a token up.

use crate::{
    base::fault::{Fault, FaultKind},
    request::{
        rewrite::{GENERATED_PREFIX, TokenPart},
        table::Table,
    },
};

/// The side whose token a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenOf {
    /// A user.
    User,
    /// An admin.
    Admin,
}

impl TokenOf {
    /// The fault of a request without a token.
    pub fn missing(self) -> Fault {
        let message = format!(
            "{}. No token was found in the request: send yours as `Authorization: Bearer TOKEN`, \
             or where the client has its API key",
            self.sentence()
        );
        Fault::new(FaultKind::MissingToken, message)
    }

    /// The fault of a token that nobody has. `table`: the files that know the beginnings of vendors' keys.
    pub fn unknown(self, presented: &str, table: &Table) -> Fault {
        if has_form(presented) {
            return match self {
                Self::User => Fault::invalid_token(),
                Self::Admin => Fault::invalid_admin_token(),
            };
        }
        let kind = match table.vendor_of_key(presented) {
            Some(title) => format!("it looks like a key of {title}"),
            None => "it may be a vendor's key".to_owned(),
        };
        let message = format!(
            "{}. The token does not look like one of tollgate's (`{GENERATED_PREFIX}...`): {kind}. Send a token \
             of tollgate: vendors' keys are stored there, and no client needs them",
            self.sentence()
        );
        Fault::new(FaultKind::ForeignToken, message)
    }

    /// The sentence that all three causes begin with.
    fn sentence(self) -> &'static str {
        match self {
            Self::User => "Invalid or missing auth credentials",
            Self::Admin => "Invalid or missing admin credentials",
        }
    }
}

/// True for a text that begins like a token that tollgate makes, also after a vendor's prefix, or that may be a paste token.
fn has_form(presented: &str) -> bool {
    let is_pasted = presented.bytes().filter(|byte| *byte == b'.').count() == 2;
    let mut parts = TokenPart::ALL.into_iter().filter_map(|part| part.text(presented));
    is_pasted || parts.any(|part| part.starts_with(GENERATED_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_token() {
        let digits = "0123456789abcdef".repeat(3);
        let check =
            |presented: &str, expected: bool| assert_eq!(has_form(presented), expected, "{presented}");
        check(&format!("tg_{digits}"), true);
        check(&format!("sk-ant-oat-tg_{digits}"), true);
        check("eyJh.eyJz.c2ln", true);
        check("tg_cut", true);
        check("sk-tg_-1", false);
        check("sk-ant-api03-abc", false);
        check(&digits, false);
        check("", false);
    }
}
