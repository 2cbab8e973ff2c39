//! The body of a form: `application/x-www-form-urlencoded` (<https://url.spec.whatwg.org/#application/x-www-form-urlencoded>).

/// The fields of a form, in their order.
#[derive(Clone, Default)]
pub(super) struct Form(Vec<(String, String)>);

/// Fields may be secrets: only their names are shown.
impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// The number of its entries.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The text of the field with this name, without white space around it. Empty if there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The same; none if there is no such field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(one, _)| one == name).map(|(_, value)| value.trim())
    }

    /// The text of the field with this name, as it was sent. Empty if there is none.
    pub(super) fn exact(&self, name: &str) -> &str {
        self.0.iter().find(|(one, _)| one == name).map_or("", |(_, value)| value)
    }

    /// The texts of all fields with this name that are not empty.
    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0
            .iter()
            .filter(move |(one, value)| one == name && !value.trim().is_empty())
            .map(|(_, value)| value.trim())
    }

    /// Name and text of all fields whose names begin so, without that beginning.
    pub(super) fn below<'f>(&'f self, beginning: &'f str) -> impl Iterator<Item = (&'f str, &'f str)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(beginning)?, value.trim())))
    }
}
