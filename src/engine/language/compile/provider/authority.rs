//! Fields in the authority of a base URL.
//!
//! It guarantees: whatever a user enters, the host ends with the suffix that the file spells out, and the value is a part of
//! one label. The values themselves are checked when a request is made ([`is_label_part`]).

use thiserror::Error;

use crate::language::compile::{
    Part, Placeholder, ProviderTemplate, SectionValue, ValueRule, Vars, filter::Filter,
};

/// The number of labels that the fixed suffix of a host has at least: a registered domain.
const SUFFIX_LABELS: usize = 2;

/// The reason why a field cannot stand in an authority.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Problem {
    /// The value may be any text.
    #[error("`{{{0}}}` stands in the host, and the field has no `pattern` and no `one_of`")]
    AnyText(String),
    /// A part of a document.
    #[error("`{{{0}}}` stands in the host, which only a `text` field or an `origin` field can")]
    Kind(String),
    /// The host does not end with fixed text.
    #[error("`{{{0}}}` stands in the host, which does not end with a fixed domain")]
    Suffix(String),
    /// A filter that makes other characters.
    #[error("`{{{0}}}` stands in the host with the filter `{1}`")]
    Filter(String, &'static str),
    /// An origin that is not the start of the URL.
    #[error("`{{{0}}}` is a whole origin, and does not stand alone at the start of the URL")]
    OriginInside(String),
    /// A secret beside it: users see the hosts that their values make.
    #[error("`{{{0}}}` stands in the host beside the secret var `{{{1}}}`, and users see that host")]
    Secret(String, String),
}

impl Problem {
    /// The advice to the author.
    pub(super) fn help(&self) -> &'static str {
        match self {
            Self::AnyText(_) => "for example: pattern = \"[a-z0-9-]{1,63}\"",
            Self::Kind(_) => "declare a field of `kind = \"text\"` for it",
            Self::Suffix(_) => "for example: \"https://{account}.example.com\"",
            Self::Filter(..) => "only `lower` and `upper` can stand there",
            Self::OriginInside(_) => "for example: \"{server}/v1\"",
            Self::Secret(..) => "drop `secret` of the var, or write it outside the host",
        }
    }
}

/// Checks the fields in the authority of a URL.
pub(super) fn check(url: &ProviderTemplate, values: &[SectionValue], vars: &Vars) -> Result<(), Problem> {
    let mut parts = url.parts().iter().enumerate();
    let (mut last_field, mut secret) = (None, None);
    let mut suffix = String::new();
    let mut scheme = false;
    for (index, part) in parts.by_ref() {
        match part {
            Part::Text(text) => {
                let host = if scheme { text } else { text.split_once("://").map_or("", |(_, rest)| rest) };
                scheme |= index == 0;
                let (in_host, ends) = match host.find('/') {
                    Some(end) => (&host[..end], true),
                    None => (host, false),
                };
                suffix.push_str(in_host);
                if ends {
                    break;
                }
            }
            Part::Placeholder { name: Placeholder::Field(field), filters } => {
                let value = &values[usize::from(field.index)];
                let name = &value.name;
                match &value.rule {
                    Some(ValueRule::Origin) if index == 0 && filters.is_empty() => {
                        let next = url.parts().get(1);
                        let alone = match next {
                            None => true,
                            Some(Part::Text(text)) => text.starts_with('/'),
                            Some(Part::Placeholder { .. }) => false,
                        };
                        return if alone { Ok(()) } else { Err(Problem::OriginInside(name.clone())) };
                    }
                    Some(ValueRule::Origin) => return Err(Problem::OriginInside(name.clone())),
                    Some(ValueRule::Plain) => return Err(Problem::AnyText(name.clone())),
                    None => return Err(Problem::Kind(name.clone())),
                    Some(ValueRule::Pattern(_) | ValueRule::OneOf(_)) if index == 0 => {
                        return Err(Problem::Suffix(name.clone()));
                    }
                    Some(ValueRule::Pattern(_) | ValueRule::OneOf(_)) => {}
                }
                let other =
                    [Filter::Urlencode, Filter::Base64].into_iter().find(|one| filters.contains(*one));
                if let Some(other) = other {
                    return Err(Problem::Filter(name.clone(), other.name()));
                }
                last_field = Some(name);
                suffix.clear();
            }
            // A var is a part of a host too, but its value is the operator's.
            Part::Placeholder { name, .. } => {
                if let Placeholder::Var(var) = name
                    && vars.get(&**var).is_some_and(|var| var.value.secret)
                {
                    secret = Some(&**var);
                }
                scheme = true;
                suffix.clear();
            }
        }
    }
    match (last_field, secret) {
        (Some(field), _) if fixed_labels(&suffix) < SUFFIX_LABELS => Err(Problem::Suffix(field.clone())),
        (Some(field), Some(var)) => Err(Problem::Secret(field.clone(), var.to_owned())),
        (Some(_) | None, _) => Ok(()),
    }
}

/// The number of whole labels at the end of a host: those after its first dot, without a port.
fn fixed_labels(suffix: &str) -> usize {
    let host = suffix.split(':').next().unwrap_or_default().trim_end_matches('.');
    host.split('.').skip(1).filter(|label| !label.is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::diag::Location,
        language::compile::{FieldName, Located, Resolved, Template, Var, VarSource},
    };

    /// The problem of a URL in which `{t}` is a text with a pattern, `{a}` any text, `{o}` an origin, `{p}` a part of a document,
    /// `{v}` a var, and `{s}` a secret one.
    fn check_url(url: &str) -> Option<String> {
        let value = |name: &str, rule: Option<ValueRule>| SectionValue {
            name: name.to_owned(),
            field: name.to_owned(),
            pointer: None,
            rule,
            optional: false,
            default: None,
        };
        let values = [
            value("t", Some(ValueRule::OneOf(vec!["eu".to_owned()]))),
            value("a", Some(ValueRule::Plain)),
            value("o", Some(ValueRule::Origin)),
            value("p", None),
        ];
        let known = |name: &str| {
            let index = values.iter().position(|value| value.name == name);
            Ok::<_, std::convert::Infallible>(Resolved::Placeholder(match index {
                Some(index) => {
                    let index = u16::try_from(index).expect("few values");
                    Placeholder::Field(FieldName { index, name: name.into() })
                }
                None => Placeholder::Var(name.into()),
            }))
        };
        let template = Template::parse(url, known).expect("a template");
        let var = |name: &str, secret| {
            let source = VarSource::Env(name.to_owned());
            let value = Var { source, optional: false, secret, default: None, is_pem: false };
            (name.to_owned(), Located { value, at: Location::file(&"x".into()) })
        };
        let vars = Vars::from([var("v", false), var("s", true)]);
        check(&template, &values, &vars).err().map(|problem| problem.to_string())
    }

    #[test]
    fn a_field_is_a_part_of_a_label_before_a_fixed_domain() {
        let good = |url: &str| assert_eq!(check_url(url), None, "{url}");
        for url in [
            "https://{t}.models.example.com",
            "https://{t}-api.example.com/v1/{a}",
            "https://api-{t}.example.com:8443/x",
            "https://{t}.{t}.example.com",
            "https://{v}.{t}.example.com",
            "https://{t|lower}.example.com",
            "https://api.example.com/{a}/{p}",
            "{o}",
            "{o}/v1/{a}",
            "https://{v}/x",
            "https://{s}.api.example.com/x",
            "https://{t}.api.example.com/{s}",
        ] {
            good(url);
        }
        let bad = |url: &str, expected: &str| assert_eq!(check_url(url).as_deref(), Some(expected), "{url}");
        let suffix = "`{t}` stands in the host, which does not end with a fixed domain";
        for url in [
            "https://{t}",
            "https://{t}/x",
            "https://{t}.com",
            "https://{t}.com.",
            "https://api.{t}",
            "https://{t}example.com",
            "https://api.example.com.{t}/",
            "https://{t}.example.{v}",
            "https://{t}.com:8443",
            "https://api.example.com:{t}",
            "{t}.example.com",
        ] {
            bad(url, suffix);
        }
        bad(
            "https://{a}.example.com",
            "`{a}` stands in the host, and the field has no `pattern` and no `one_of`",
        );
        let kind = "`{p}` stands in the host, which only a `text` field or an `origin` field can";
        bad("https://{p}.example.com", kind);
        let inside = "`{o}` is a whole origin, and does not stand alone at the start of the URL";
        for url in ["https://{o}.example.com", "{o}.example.com", "{o}:8000", "{o}{t}", "{o|lower}/v1"] {
            bad(url, inside);
        }
        let secret = "`{t}` stands in the host beside the secret var `{s}`, and users see that host";
        bad("https://{t}.{s}.example.com", secret);
        bad("https://{s}-{t}.example.com/v1", secret);
        bad("https://{t|base64}.example.com", "`{t}` stands in the host with the filter `base64`");
    }
}
