//! Licences as packages declare them, as SPDX expressions (SPDX 2.3, annex D).
//!
//! What is no expression, and what names a licence that is not among the usual ones, becomes a `LicenseRef-…` that the
//! document explains with the declared text: readers then see the author's words, and every document is valid.

use std::collections::BTreeMap;

use kiln_oci::Digest;

/// The longest part of a licence's text that names it.
const SHOWN: usize = 40;
/// Digits that keep apart what is shown alike.
const DIGITS: usize = 8;
/// The deepest nesting of parentheses.
const MAX_DEPTH: i32 = 64;

/// The usual licences of SPDX's list.
const KNOWN: &str = "\
    0BSD AFL-2.1 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Apache-2.0 Artistic-1.0 Artistic-1.0-Perl \
    Artistic-2.0 BSD-1-Clause BSD-2-Clause BSD-2-Clause-Patent BSD-3-Clause BSD-3-Clause-Clear BSD-4-Clause \
    BSD-4-Clause-UC BSL-1.0 BlueOak-1.0.0 CC-BY-3.0 CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CDDL-1.0 \
    CDDL-1.1 CPL-1.0 ECL-2.0 EPL-1.0 EPL-2.0 EUPL-1.2 FSFAP FSFUL FSFULLR FTL GFDL-1.2-or-later GFDL-1.3-only \
    GFDL-1.3-or-later GPL-1.0-only GPL-1.0-or-later GPL-2.0-only GPL-2.0-or-later GPL-3.0-only \
    GPL-3.0-or-later HPND ICU IJG ISC LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1-only LGPL-2.1-or-later \
    LGPL-3.0-only LGPL-3.0-or-later LPPL-1.3c Libpng MIT MIT-0 MIT-CMU MPL-1.1 MPL-2.0 MS-PL MulanPSL-2.0 NCSA \
    NTP OFL-1.1 OLDAP-2.8 OpenSSL PHP-3.01 PSF-2.0 PostgreSQL Python-2.0 Ruby SISSL SMLNJ SSH-OpenSSH TCL \
    UPL-1.0 Unicode-3.0 Unicode-DFS-2016 Unlicense Vim W3C WTFPL X11 Xnet ZPL-2.1 Zlib blessing bzip2-1.0.6 \
    curl libpng-2.0 libtiff zlib-acknowledgement";

/// The usual exceptions after `WITH`.
const EXCEPTIONS: &str = "\
    Autoconf-exception-3.0 Bison-exception-2.2 Classpath-exception-2.0 Font-exception-2.0 GCC-exception-3.1 \
    LLVM-exception Linux-syscall-note OCaml-LGPL-linking-exception openvpn-openssl-exception";

/// Texts of licences that are not on the list, by the name that they have in the document.
pub(super) type Extracted = BTreeMap<String, String>;

/// The expression for a declared licence; what it has to explain is added to `extracted`.
pub(super) fn expression(declared: &str, extracted: &mut Extracted) -> String {
    match parts(declared) {
        Some(parts) => parts.iter().map(|part| part.write(extracted)).collect::<Vec<_>>().join(" "),
        None => reference(declared, extracted),
    }
}

/// A word of an expression, with the parentheses around it.
#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    opened: usize,
    word: Word<'a>,
    closed: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Word<'a> {
    Operator(&'static str),
    License(&'a str),
}

impl Part<'_> {
    fn write(&self, extracted: &mut Extracted) -> String {
        let word = match self.word {
            Word::Operator(operator) => operator.to_owned(),
            Word::License(id) => license(id, extracted),
        };
        format!("{}{word}{}", "(".repeat(self.opened), ")".repeat(self.closed))
    }
}

fn license(id: &str, extracted: &mut Extracted) -> String {
    match has(KNOWN, id.trim_end_matches('+')) || has(EXCEPTIONS, id) {
        true => id.to_owned(),
        false => reference(id, extracted),
    }
}

fn has(list: &str, id: &str) -> bool {
    list.split_whitespace().any(|known| known == id)
}

/// The words of an expression; `None` where the text is none.
fn parts(text: &str) -> Option<Vec<Part<'_>>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let (mut depth, mut after_with) = (0i32, false);
    for token in text.split_whitespace() {
        let inner = token.trim_start_matches('(');
        let word = inner.trim_end_matches(')');
        let (opened, closed) = (token.len() - inner.len(), inner.len() - word.len());
        let expects_license = parts.last().is_none_or(|last| matches!(last.word, Word::Operator(_)));
        let word = match operator(word) {
            Some(operator) if !expects_license && opened + closed == 0 => Word::Operator(operator),
            None if expects_license && is_id(word) => Word::License(word),
            _ => return None,
        };
        // An exception stands where a licence would, and the other way round it is nothing.
        let is_exception = matches!(word, Word::License(id) if has(EXCEPTIONS, id));
        if is_exception != after_with {
            return None;
        }
        after_with = word == Word::Operator("WITH");
        depth += i32::try_from(opened).ok()?;
        depth -= i32::try_from(closed).ok()?;
        if !(0..=MAX_DEPTH).contains(&depth) {
            return None;
        }
        parts.push(Part { opened, word, closed });
    }
    let ends_well = matches!(parts.last()?.word, Word::License(_));
    (depth == 0 && ends_well).then_some(parts)
}

fn operator(word: &str) -> Option<&'static str> {
    ["AND", "OR", "WITH"].into_iter().find(|operator| operator.eq_ignore_ascii_case(word))
}

fn is_id(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte))
}

/// A name for a text: the same text always has the same, another one another.
fn reference(text: &str, extracted: &mut Extracted) -> String {
    let dashed: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let shown: String = dashed.chars().take(SHOWN).collect();
    let digest = Digest::of(text.as_bytes());
    let name = format!("LicenseRef-{}-{}", shown.trim_matches('-'), &digest.hex()[..DIGITS]);
    extracted.insert(name.clone(), text.to_owned());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (String, Vec<String>) {
        let mut extracted = Extracted::new();
        let expression = expression(text, &mut extracted);
        assert!(extracted.keys().all(|name| expression.contains(name.as_str())));
        (expression, extracted.into_values().collect())
    }

    #[test]
    fn expressions_of_known_licences_stay() {
        for (text, expected) in [
            ("MIT", "MIT"),
            ("MIT and (BSD-2-Clause or GPL-2.0-only)", "MIT AND (BSD-2-Clause OR GPL-2.0-only)"),
            ("Apache-2.0 WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception"),
        ] {
            assert_eq!(of(text), (expected.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn unknown_names_and_texts_are_explained() {
        let (expression, texts) = of("GPLv2+ and MIT");
        assert!(
            expression.starts_with("LicenseRef-GPLv2-") && expression.ends_with(" AND MIT"),
            "{expression}"
        );
        assert_eq!(texts, ["GPLv2+"]);
        for text in [
            "SEE LICENSE IN LICENSE.md",
            "MIT AND",
            "(MIT",
            "MIT)",
            "LLVM-exception",
            "MIT WITH MIT",
            "ü",
            "MIT/X",
        ] {
            let (expression, texts) = of(text);
            assert!(expression.starts_with("LicenseRef-") && !expression.contains(' '), "{expression}");
            assert_eq!(texts, [text]);
        }
        assert_ne!(of("a b").0, of("a-b").0);
    }
}
