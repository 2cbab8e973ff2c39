//! Suggestions for a misspelt name: "did you mean ...?", and the list of known names.

/// The least Jaro-Winkler similarity of a suggestion.
const MIN_SIMILARITY: f64 = 0.8;
/// The similarity of two names that differ by one swap of neighbouring letters.
const SWAPPED: f64 = 0.9;
/// The longest name, in bytes, that is compared: the work grows with the product of both lengths.
const MAX_LEN: usize = 256;

/// The known name that is most similar to `given`, ignoring case.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > MAX_LEN {
        return None;
    }
    let given = given.to_ascii_lowercase();
    known
        .into_iter()
        .filter(|name| name.len() <= MAX_LEN)
        .map(|name| (similarity(&given, &name.to_ascii_lowercase()), name))
        .filter(|(similarity, _)| *similarity > MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The known name that `given` misspells: at most two letters differ, or one in a short name. Stricter than [`nearest`],
/// for what is refused and not only suggested.
pub fn misspelt<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = nearest(given, known)?;
    let distance = strsim::osa_distance(&given.to_ascii_lowercase(), &name.to_ascii_lowercase());
    (distance <= if name.len() < 6 { 1 } else { 2 }).then_some(name)
}

fn similarity(given: &str, name: &str) -> f64 {
    let similarity = strsim::jaro_winkler(given, name);
    // A swap of neighbours is the commonest typing error, and Jaro-Winkler rates it low in short names.
    let swapped = name.len() > 2 && name.len() == given.len() && strsim::osa_distance(given, name) == 1;
    if swapped { similarity.max(SWAPPED) } else { similarity }
}

/// The names in backticks, with commas.
pub fn backticked<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_suggests_one_similar_name() {
        let known = ["base_url", "path", "get"];
        let check =
            |given: &str, expected: Option<&str>| assert_eq!(nearest(given, known), expected, "{given}");
        check("base_ulr", Some("base_url"));
        check("PATH", Some("path"));
        check("gte", Some("get"));
        check("zzz", None);
        check("", None);
    }
}
