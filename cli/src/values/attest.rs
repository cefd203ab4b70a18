//! `--attest type=…`, and its short forms `--provenance` and `--sbom`.

use kiln_engine::build::{
    Attest, AttestForm, PROVENANCE_FILE, Provenance, ProvenanceMode, ProvenanceOptions,
};
use kiln_engine::{Error, Result, boolean, csv};

use super::wrong;

const ATTEST: &str = "--attest";

/// What is to be said about an image; without any of the options nothing is.
pub(crate) fn parse(attests: &[String], provenance: Option<&str>, sbom: Option<&str>) -> Result<Attest> {
    let mut attest = Attest::default();
    let mut form = None;
    for text in attests {
        add(&mut attest, &mut form, ATTEST, text, text)?;
    }
    for (kind, value) in [("provenance", provenance), ("sbom", sbom)] {
        let Some(value) = value else { continue };
        let rest = match (kind, value) {
            (_, value) if boolean::parse(value).is_some() => {
                format!("disabled={}", boolean::parse(value) == Some(false))
            }
            ("provenance", "min" | "max") => format!("mode={value}"),
            (_, value) => value.to_owned(),
        };
        add(&mut attest, &mut form, &format!("--{kind}"), value, &format!("type={kind},{rest}"))?;
    }
    attest.form = form.unwrap_or_default();
    Ok(attest)
}

/// Adds what one option says; `shown` is what was typed.
fn add(
    attest: &mut Attest,
    form: &mut Option<AttestForm>,
    option: &str,
    shown: &str,
    text: &str,
) -> Result<()> {
    let fields = Fields::parse(option, shown, text)?;
    if let Some(new) = fields.form {
        if form.is_some_and(|form| form != new) {
            return wrong(option, shown, "the form of another option is another one, and an image has one");
        }
        *form = Some(new);
    }
    match fields.kind.as_str() {
        "provenance" => attest.provenance = (!fields.disabled).then_some(fields.provenance),
        "sbom" => attest.sbom = !fields.disabled,
        other => return wrong(option, shown, format!("type `{other}` is neither `provenance` nor `sbom`")),
    }
    Ok(())
}

/// The keys of one option.
struct Fields {
    kind: String,
    disabled: bool,
    form: Option<AttestForm>,
    provenance: Provenance,
}

impl Fields {
    fn parse(option: &str, shown: &str, text: &str) -> Result<Fields> {
        let Some(all) = csv::record(text) else { return wrong(option, shown, "its quotes do not match") };
        let mut pairs = Vec::new();
        for field in all.iter().filter(|field| !field.is_empty()) {
            match field.split_once('=') {
                Some(pair) => pairs.push(pair),
                None => return wrong(option, shown, format!("`{field}` is not `key=value`")),
            }
        }
        let kind = pairs.iter().find(|(key, _)| *key == "type").map(|(_, kind)| *kind);
        let Some(kind) = kind else { return wrong(option, shown, "it needs a `type`") };
        let (options, file) = (ProvenanceOptions::default(), PROVENANCE_FILE.to_owned());
        let provenance = Provenance { options, file, inline_only: false };
        let mut fields = Fields { kind: kind.to_owned(), disabled: false, form: None, provenance };
        for (key, value) in pairs {
            fields.set(kind, key, value).or_else(|why| match why {
                Why::Text(why) => wrong(option, shown, why),
                Why::Generator => Err(generator(option, shown)),
            })?;
        }
        Ok(fields)
    }

    fn set(&mut self, kind: &str, key: &str, value: &str) -> std::result::Result<(), Why> {
        let flag = || boolean::parse(value).ok_or_else(|| Why::Text(format!("`{key}` is true or false")));
        let Provenance { options, file, inline_only } = &mut self.provenance;
        match (kind, key) {
            (_, "type") => {}
            (_, "disabled") => self.disabled = flag()?,
            (_, "form") => self.form = Some(form(value)?),
            ("provenance", "mode") => options.mode = mode(value)?,
            ("provenance", "version") => version(value)?,
            ("provenance", "builder-id") => value.clone_into(&mut options.builder_id),
            ("provenance", "reproducible") => options.reproducible = flag()?,
            ("provenance", "inline-only") => *inline_only = flag()?,
            ("provenance", "filename") => *file = file_name(value)?,
            ("sbom", "generator") => return Err(Why::Generator),
            _ => return Err(Why::Text(format!("key `{key}` is not known for type `{kind}`"))),
        }
        Ok(())
    }
}

/// Why a key is refused.
enum Why {
    Text(String),
    Generator,
}

fn mode(value: &str) -> std::result::Result<ProvenanceMode, Why> {
    match value {
        "min" => Ok(ProvenanceMode::Min),
        "max" | "full" => Ok(ProvenanceMode::Max),
        _ => Err(Why::Text("`mode` is `min` or `max`".to_owned())),
    }
}

fn version(value: &str) -> std::result::Result<(), Why> {
    match value {
        "v1" => Ok(()),
        "v0.2" => Err(Why::Text("SLSA v0.2 is superseded and not written: `version` is `v1`".to_owned())),
        _ => Err(Why::Text("`version` is `v1`".to_owned())),
    }
}

fn form(value: &str) -> std::result::Result<AttestForm, Why> {
    match value {
        "referrers" => Ok(AttestForm::Referrers),
        "index" => Ok(AttestForm::Index),
        _ => Err(Why::Text("`form` is `referrers` or `index`".to_owned())),
    }
}

fn file_name(value: &str) -> std::result::Result<String, Why> {
    match value.is_empty() || value.contains(['/', '\0']) || value.starts_with("..") {
        true => Err(Why::Text("`filename` is a name and no path".to_owned())),
        false => Ok(value.to_owned()),
    }
}

fn generator(option: &str, shown: &str) -> Error {
    Error::invalid(format!("`{option} {shown}`: kiln lists packages itself and runs no generator"))
        .with_hint("a scanner of your choice can read the image that `kiln save` writes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(attests: &[&str], provenance: Option<&str>, sbom: Option<&str>) -> Result<Attest> {
        let attests: Vec<String> = attests.iter().map(|text| (*text).to_owned()).collect();
        parse(&attests, provenance, sbom)
    }

    fn mode_of(attest: &Attest) -> Option<ProvenanceMode> {
        attest.provenance.as_ref().map(|provenance| provenance.options.mode)
    }

    #[test]
    fn nothing_is_said_unless_somebody_asks() {
        assert!(of(&[], None, None).unwrap().is_empty());
        assert!(of(&[], Some("false"), Some("false")).unwrap().is_empty());
        assert!(of(&["type=provenance", "type=sbom"], Some("false"), Some("0")).unwrap().is_empty());
        assert!(of(&["type=provenance,disabled=true"], None, None).unwrap().is_empty());
    }

    #[test]
    fn short_forms_are_the_long_ones() {
        for (text, mode) in [
            ("true", ProvenanceMode::Max),
            ("max", ProvenanceMode::Max),
            ("min", ProvenanceMode::Min),
            ("mode=min,builder-id=x", ProvenanceMode::Min),
        ] {
            assert_eq!(mode_of(&of(&[], Some(text), None).unwrap()), Some(mode), "{text}");
        }
        assert!(of(&[], None, Some("true")).unwrap().sbom);
        let all = "type=provenance,mode=min,version=v1,builder-id=https://x,reproducible=true,inline-only=1,\
                   filename=p.json,form=index";
        let attest = of(&[all], None, None).unwrap();
        assert_eq!(attest.form, AttestForm::Index);
        let provenance = attest.provenance.unwrap();
        assert_eq!((provenance.file.as_str(), provenance.inline_only), ("p.json", true));
        assert_eq!(
            (provenance.options.builder_id.as_str(), provenance.options.reproducible),
            ("https://x", true)
        );
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (bad, part) in [
            ("type=provenance,version=v0.2", "v0.2"),
            ("type=sbom,generator=image", "generator"),
            ("type=sbom,mode=max", "`mode` is not known"),
            ("type=signature", "signature"),
            ("mode=max", "type"),
            ("type=provenance,mode=all", "mode"),
            ("type=provenance,filename=../x", "filename"),
            ("type=provenance,reproducible=maybe", "reproducible"),
            ("type=provenance,form=layer", "form"),
            ("type=provenance,x", "key=value"),
        ] {
            let error = of(&[bad], None, None).unwrap_err();
            assert!(error.message.contains(part), "{bad}: {}", error.message);
        }
        let two = of(&["type=provenance,form=index", "type=sbom,form=referrers"], None, None);
        assert!(two.unwrap_err().message.contains("form"));
    }
}
