//! A base URL with its vars filled in.

use crate::{
    base::origin::Origin,
    language::compile::{Part, ProviderTemplate, Template, Vars},
};

use super::{
    Input,
    destination::{self, Destination},
    fill::{Filler, good_path},
    origins,
};

/// A base URL with its vars filled in.
pub(super) struct Base {
    pub destination: Destination,
    pub path: Template<Input>,
}

impl Base {
    /// The error is a fragment that names the problem.
    pub fn of(url: &Template<Input>) -> Result<Self, &'static str> {
        if let Some(text) = url.as_text() {
            let (origin, path) = Origin::split(text)?;
            let path = good_path(path).then(|| Template::text(path.trim_end_matches('/'))).ok_or(BAD_PATH)?;
            return Ok(Self { destination: Destination::Fixed(origin), path });
        }
        let (authority, path) = destination::split(url);
        let mut assumed = String::new();
        path.render(&mut assumed, |_| "x");
        if !good_path(&assumed) {
            return Err(BAD_PATH);
        }
        let path = path.without_suffix("/");
        match authority.as_text() {
            Some(text) => Ok(Self { destination: Destination::Fixed(Origin::split(text)?.0), path }),
            None => Ok(Self { destination: Destination::Made(authority), path }),
        }
    }

    /// The same with a path that ends as written: the URL of a request, below which nothing follows.
    pub fn whole(url: &Template<Input>) -> Result<Self, &'static str> {
        let base = Self::of(url)?;
        let ends_with_slash = matches!(url.parts().last(), Some(Part::Text(text)) if text.ends_with('/'))
            && !base.path.parts().is_empty();
        let mut path = base.path;
        if ends_with_slash {
            path.append(&Template::text("/"), false);
        }
        Ok(Self { path, ..base })
    }

    /// The host for messages: the fields in braces.
    pub fn host(&self, url: &ProviderTemplate) -> String {
        match &self.destination {
            Destination::Fixed(origin) => origin.host().to_owned(),
            Destination::Made(_) => origins::host_of(url),
        }
    }

    /// The origin for users: no secret may occur in it.
    pub fn shown(&self, url: &ProviderTemplate, vars: &Vars, filler: &Filler<'_>) -> origins::Base {
        match &self.destination {
            Destination::Fixed(_) if filler.is_secret(url) => {
                origins::Base::Fixed(origins::written(url, vars))
            }
            Destination::Fixed(origin) => origins::Base::Fixed(origin.to_string()),
            Destination::Made(template) => origins::Base::Made(template.clone()),
        }
    }
}

const BAD_PATH: &str = "its path has characters or segments that a path cannot have";
