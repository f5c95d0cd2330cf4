//! "Did you mean": the known word that is nearest to one that is not known.

/// The candidate that `given` was most probably meant to be, if any is near enough: a typing
/// mistake for every three characters, whatever the case.
pub fn closest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = given.to_lowercase();
    let tolerated = (lower.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?" where a candidate is near, else the list of them all.
pub(super) fn help<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(candidate) = closest(given, candidates.clone()) {
        return format!("did you mean `{candidate}`?");
    }
    let all: Vec<String> = candidates.into_iter().map(|known| format!("`{known}`")).collect();
    match all.as_slice() {
        [] => "there is none to choose from".to_owned(),
        [only] => format!("the only one is {only}"),
        _ => format!("expected one of {}", all.join(", ")),
    }
}

/// Transposed, missing, doubled and wrong characters count one each; a missing or added plural
/// or separator is thus always near.
fn distance(a: &str, b: &str) -> usize {
    strsim::damerau_levenshtein(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_is_recognised() {
        let keys = ["listen", "listen_tls", "workers"];
        assert_eq!(closest("lisen", keys), Some("listen"));
        assert_eq!(closest("WORKERS", keys), Some("workers"));
        assert_eq!(closest("wokrers", keys), Some("workers"));
        assert_eq!(closest("colour", keys), None);
    }

    #[test]
    fn without_a_near_one_all_are_listed() {
        assert_eq!(help("x", ["deny", "authenticated"]), "expected one of `deny`, `authenticated`");
        assert_eq!(help("x", ["api"]), "the only one is `api`");
        assert_eq!(help("x", []), "there is none to choose from");
    }
}
