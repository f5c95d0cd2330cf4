//! Which request paths are canonical: refused rather than repaired.

/// Path forms that `[gate] allow_in_path` lets through to routes without captures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed(pub(crate) u8);

/// An empty segment, `//`.
pub(crate) const DOUBLE_SLASH: u8 = 1;
/// `;`, which some servers cut parameters at.
pub(crate) const SEMICOLON: u8 = 2;
/// `%2F`, which some servers decode to a separator.
pub(crate) const ENCODED_SLASH: u8 = 4;
/// `%5C`, which some servers decode to a separator.
pub(crate) const ENCODED_BACKSLASH: u8 = 8;
/// `\`, which some servers take for a separator.
pub(crate) const BACKSLASH: u8 = 16;

impl Allowed {
    /// The forms that can be let through, in the order of their bits.
    pub const FORMS: [&'static str; 5] = ["//", ";", "%2F", "%5C", "\\"];

    /// Reads the forms of `[gate] allow_in_path`.
    ///
    /// # Errors
    /// The first form that is not one of [`Self::FORMS`].
    pub fn parse(forms: &[String]) -> Result<Self, String> {
        let bit = |form: &String| {
            Ok(match form.as_str() {
                "//" => DOUBLE_SLASH,
                ";" => SEMICOLON,
                "%2F" => ENCODED_SLASH,
                "%5C" => ENCODED_BACKSLASH,
                "\\" => BACKSLASH,
                _ => return Err(form.clone()),
            })
        };
        forms.iter().try_fold(0, |bits, form| Ok(bits | bit(form)?)).map(Self)
    }
}
