//! Gateway tokens and ids: generates them, and finds the token in the text that a client presents. Tokens are never
//! compared: their hashes are looked up.

use zeroize::Zeroizing;

use super::{DisplayName, random::random};
use crate::{
    hex,
    name::{AdminTokenId, Scope, TokenId, UserId},
    rewrite::{GENERATED_BYTES, GENERATED_PREFIX, TokenPart},
    secret::Secret,
    store::{NewAdminToken, NewToken, TokenHash, TokenKind},
};

/// Characters of a token that lists show: enough to recognise it, too few to guess the rest.
const SHOWN_CHARS: usize = GENERATED_PREFIX.len() + 8;

/// A token to create.
#[derive(Debug, Clone)]
pub struct TokenDraft {
    /// Its label.
    pub label: Option<DisplayName>,
    /// Its kind.
    pub kind: TokenKind,
    /// Its scopes; none for all providers.
    pub scopes: Option<Vec<Scope>>,
    /// Its expiry, in milliseconds since 1970; none for no expiry.
    pub expires_at_ms: Option<u64>,
}

impl TokenDraft {
    /// A token for all providers that does not expire.
    pub fn new(label: Option<DisplayName>, kind: TokenKind) -> Self {
        Self { label, kind, scopes: None, expires_at_ms: None }
    }
}

/// A new token: `tg_` and 48 hex digits.
pub(super) fn generate() -> Secret {
    let random = Zeroizing::new(random::<GENERATED_BYTES>());
    let digits = Zeroizing::new(hex::encode(random.as_slice()));
    Secret::new(format!("{GENERATED_PREFIX}{}", digits.as_str()))
}

/// The token, if `text` has the form of [`generate`].
pub(super) fn parse(text: &str) -> Option<Secret> {
    hex::decode::<GENERATED_BYTES>(text.strip_prefix(GENERATED_PREFIX)?).map(|_| Secret::new(text))
}

/// A new user id.
pub(super) fn generate_user_id() -> UserId {
    UserId::new(&id_text(UserId::PREFIX)).expect("sixteen hex digits make an id")
}

/// A new token's id.
pub(super) fn generate_id() -> TokenId {
    TokenId::new(&id_text(TokenId::PREFIX)).expect("sixteen hex digits make an id")
}

/// A new admin token's id.
pub(super) fn generate_admin_id() -> AdminTokenId {
    AdminTokenId::new(&id_text(AdminTokenId::PREFIX)).expect("sixteen hex digits make an id")
}

fn id_text(prefix: &str) -> String {
    format!("{prefix}{}", hex::encode(&random::<8>()))
}

/// The first characters of a token, as lists show it.
pub fn shown_prefix(token: &str) -> &str {
    token.get(..SHOWN_CHARS).unwrap_or(token)
}

/// The record of a token from another system, of any length. Lists show fewer characters of a short one: the rest must be
/// hard to guess.
pub(super) fn foreign_record(token: &Secret, draft: TokenDraft, now_ms: u64) -> NewToken {
    let text = token.expose();
    let shown = text.get(..SHOWN_CHARS.min(text.len() / 4)).unwrap_or_default().to_owned();
    NewToken { prefix: shown, ..record(token, draft, now_ms) }
}

/// The record of a token.
pub(super) fn record(token: &Secret, draft: TokenDraft, now_ms: u64) -> NewToken {
    let TokenDraft { label, kind, scopes, expires_at_ms } = draft;
    NewToken {
        id: generate_id(),
        hash: TokenHash::of(token.expose()),
        prefix: shown_prefix(token.expose()).to_owned(),
        label: label.map(|label| label.as_str().to_owned()),
        kind,
        scopes,
        created_at_ms: now_ms,
        expires_at_ms,
    }
}

/// The record of an admin token.
pub(super) fn admin_record(token: &Secret, label: String, now_ms: u64) -> NewAdminToken {
    NewAdminToken {
        id: generate_admin_id(),
        hash: TokenHash::of(token.expose()),
        prefix: shown_prefix(token.expose()).to_owned(),
        label,
        created_at_ms: now_ms,
        expires_at_ms: None,
    }
}

/// The possible tokens in a presented text. A text with a blank or a control character contains no token.
fn parts(presented: &str) -> impl Iterator<Item = &str> {
    let is_one_word =
        !presented.contains(|character: char| character.is_whitespace() || character.is_control());
    TokenPart::ALL.into_iter().filter(move |_| is_one_word).filter_map(|part| part.text(presented))
}

/// A possible token: a hash, and the shape that the token has to have. Caches are keyed by both, so that a token of one
/// shape is never found where the other is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Candidate {
    pub(super) hash: TokenHash,
    pub(super) shape: Shape,
}

/// The shape of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// That of a token of a user or an admin: it may follow a vendor's prefix.
    Gateway,
    /// That of a vendor's own: a paste token, which has no prefix.
    Paste,
    /// The text of a session's cookie.
    Session,
}

/// The possible tokens in a presented text, in the order in which they are looked up. A cookie has a session alone, and a
/// session is nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Candidates {
    /// The whole text as a paste token, if it has the form of one: three parts between dots.
    paste: Option<TokenHash>,
    /// The whole text.
    whole: Option<TokenHash>,
    /// Its last part after a `-`.
    last: Option<TokenHash>,
    /// The whole text as a session.
    session: Option<TokenHash>,
}

impl Candidates {
    /// The candidates in a text that may have a vendor's prefix; `None` if it contains no token.
    pub(super) fn of(presented: &str) -> Option<Self> {
        let mut hashes = parts(presented).map(TokenHash::of);
        let (whole, last) = (hashes.next()?, hashes.next());
        let is_pasted = presented.bytes().filter(|byte| *byte == b'.').count() == 2;
        Some(Self { paste: is_pasted.then_some(whole), whole: Some(whole), last, session: None })
    }

    /// The whole text as the only candidate; `None` if it is no token.
    pub(super) fn exactly(presented: &str) -> Option<Self> {
        let hash = parts(presented).next().map(TokenHash::of)?;
        Some(Self::only(Candidate { hash, shape: Shape::Gateway }))
    }

    /// The whole text as the token of a session; `None` if it is none.
    pub(super) fn session(presented: &str) -> Option<Self> {
        let hash = parts(presented).next().map(TokenHash::of)?;
        Some(Self::only(Candidate { hash, shape: Shape::Session }))
    }

    /// The part of the text whose candidate has this hash.
    pub(super) fn part(&self, hash: &TokenHash) -> TokenPart {
        if self.last.as_ref() == Some(hash) { TokenPart::AfterPrefix } else { TokenPart::Whole }
    }

    /// A single candidate.
    pub(super) fn only(Candidate { hash, shape }: Candidate) -> Self {
        let none = Self { paste: None, whole: None, last: None, session: None };
        match shape {
            Shape::Gateway => Self { whole: Some(hash), ..none },
            Shape::Paste => Self { paste: Some(hash), ..none },
            Shape::Session => Self { session: Some(hash), ..none },
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Candidate> + Send + use<> {
        let Self { paste, whole, last, session } = *self;
        let paste = paste.map(|hash| Candidate { hash, shape: Shape::Paste });
        let gateway = |hash| Candidate { hash, shape: Shape::Gateway };
        let session = session.map(|hash| Candidate { hash, shape: Shape::Session });
        paste.into_iter().chain(whole.map(gateway)).chain(last.map(gateway)).chain(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_random_hex_digits_after_the_prefix() {
        let (one, two) = (generate(), generate());
        assert_ne!(one, two);
        let digits = one.expose().strip_prefix("tg_").unwrap();
        assert_eq!(digits.len(), 48);
        assert!(digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
        assert_eq!(shown_prefix(one.expose()), &one.expose()[..11]);
        assert_eq!(shown_prefix("tg_é"), "tg_é");
        assert_ne!(generate_user_id(), generate_user_id());
    }

    #[test]
    fn the_part_after_a_vendors_prefix_is_a_candidate() {
        let check = |presented: &str, expected: &[&str]| {
            assert_eq!(parts(presented).collect::<Vec<_>>(), expected);
        };
        check("tg_0", &["tg_0"]);
        check("sk-ant-oat-tg_0", &["sk-ant-oat-tg_0", "tg_0"]);
        check("-tg_0", &["-tg_0", "tg_0"]);
        check("tg_0-", &["tg_0-"]);
        check("", &[""]);
        check("-", &["-"]);
        check("é-ü", &["é-ü", "ü"]);
    }

    #[test]
    fn the_part_with_a_hash_is_the_token() {
        let check = |presented: &str, token: &str, expected: TokenPart| {
            let candidates = Candidates::of(presented).unwrap();
            assert_eq!(candidates.part(&TokenHash::of(token)), expected, "{presented} {token}");
        };
        check("tg_0", "tg_0", TokenPart::Whole);
        check("sk-tg_0", "tg_0", TokenPart::AfterPrefix);
        check("sk-tg_0", "sk-tg_0", TokenPart::Whole);
        check("a.b.c-d", "a.b.c-d", TokenPart::Whole);
    }

    #[test]
    fn only_a_whole_text_of_three_parts_may_be_a_paste_token() {
        let check = |presented: &str, expected: &[(Shape, &str)]| {
            let candidates: Vec<_> = Candidates::of(presented).unwrap().iter().collect();
            let expected =
                expected.iter().map(|(shape, text)| Candidate { hash: TokenHash::of(text), shape: *shape });
            assert_eq!(candidates, expected.collect::<Vec<_>>(), "{presented}");
        };
        check("a.b.c", &[(Shape::Paste, "a.b.c"), (Shape::Gateway, "a.b.c")]);
        check("x-a.b", &[(Shape::Gateway, "x-a.b"), (Shape::Gateway, "a.b")]);
        check(
            "x-a.b.c",
            &[(Shape::Paste, "x-a.b.c"), (Shape::Gateway, "x-a.b.c"), (Shape::Gateway, "a.b.c")],
        );
    }

    #[test]
    fn a_text_with_blanks_or_control_characters_has_no_candidates() {
        for text in
            ["some text-tg_0", "tg_0 ", " tg_0", "a\t-tg_0", "a-tg_0\0", "a\n-tg_0", "\u{7f}-tg_0", " "]
        {
            assert_eq!(parts(text).next(), None, "{text:?}");
        }
    }
}
