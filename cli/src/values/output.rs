//! `-o type=…,KEY=VALUE,…`, and what `--push` and `--load` add to it.

use std::io::{Write, stdout};
use std::path::Path;

use kiln_engine::build::{
    AttributeError, Export, ImageOptions, LocalMode, Place, Streams, export_attributes,
};
use kiln_engine::{Error, Result, csv};

use super::wrong;
use crate::terminal;

/// What lets `mode=delete` empty a folder outside the working directory.
pub(crate) const LOCAL_DELETE: &str = "buildx.local.delete";

/// What becomes of a build: each `-o`, and the image that `--push` sends and `--load` keeps. Without any of them the image
/// goes to the store; with `-o`, to where that says alone, as in `docker buildx build`.
pub(crate) fn exports(texts: &[String], push: bool, load: bool) -> Result<Vec<Export>> {
    let mut streams = Stdout { taken: false };
    let exports = texts.iter().map(|text| parse(text, &mut streams));
    let mut exports = exports.collect::<Result<Vec<Export>>>()?;
    let is_image = |export: &&mut Export| matches!(export, Export::Image { .. });
    if push {
        let mut pushed = false;
        for export in exports.iter_mut().filter(is_image) {
            if let Export::Image { place, .. } = export {
                (place.push, pushed) = (true, true);
            }
        }
        if !pushed {
            exports.push(image(Place { push: true, ..Place::default() }));
        }
    }
    let is_kept = |export: &Export| matches!(export, Export::Image { place, .. } if place.store);
    if load && !exports.iter().any(is_kept) || exports.is_empty() {
        exports.push(image(Place::default()));
    }
    Ok(exports)
}

fn image(place: Place) -> Export {
    Export::Image { image: ImageOptions::default(), place }
}

/// Reads one `-o`: attributes, a folder, or `-` for a tar on standard output.
fn parse(text: &str, streams: &mut Stdout) -> Result<Export> {
    let (kind, attributes) = attributes(text)?;
    export_attributes::export(&kind, &attributes, streams).map_err(|AttributeError { message, hint }| {
        let error = Error::invalid(format!("`-o {text}`: {message}"));
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    })
}

/// The type and the other attributes.
fn attributes(text: &str) -> Result<(String, Vec<(String, String)>)> {
    let Some(fields) = csv::record(text) else {
        return wrong("-o", text, "quotes stand around a whole field");
    };
    if fields.len() == 1 && !text.contains('=') {
        let kind = if text == "-" { "tar" } else { "local" };
        return Ok((kind.to_owned(), vec![("dest".to_owned(), text.to_owned())]));
    }
    let mut kind = None;
    let mut attributes = Vec::new();
    for field in &fields {
        // As in BuildKit, an attribute that is true or false is true by its name alone.
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        let annotation = key.starts_with("annotation");
        let key = if annotation { key.to_owned() } else { key.trim().to_lowercase() };
        match key.as_str() {
            "type" => kind = Some(value.to_owned()),
            "dest" if !field.contains('=') => return wrong("-o", text, "`dest` needs a path"),
            _ => attributes.push((key, value.to_owned())),
        }
    }
    match kind {
        Some(kind) => Ok((kind, attributes)),
        None => wrong("-o", text, "it needs a `type`"),
    }
}

/// Refuses `mode=delete` for a folder that is not below the working directory, unless that was allowed.
pub(crate) fn check_deletes(exports: &[Export], allowed: bool) -> Result<()> {
    for export in exports {
        if let Export::Local { dest, mode: LocalMode::Delete, .. } = export
            && !allowed
            && !is_below_here(dest)
        {
            let message =
                format!("`mode=delete`: `{}` is not a folder below the working directory", dest.display());
            return Err(Error::invalid(message)
                .with_hint(format!("`--allow {LOCAL_DELETE}` empties it all the same")));
        }
    }
    Ok(())
}

/// Whether a folder, links followed as far as it is there, is below the working directory and not that itself.
fn is_below_here(dest: &Path) -> bool {
    let Ok(here) = std::env::current_dir().and_then(|here| here.canonicalize()) else { return false };
    let full = here.join(dest);
    let there = full.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    let Some((part, resolved)) = there else { return false };
    let rest = full.strip_prefix(part).unwrap_or(Path::new(""));
    let climbs = rest.components().any(|part| part == std::path::Component::ParentDir);
    let full = resolved.join(rest);
    !climbs && full.starts_with(&here) && (full != here)
}

/// Standard output, for one export and never a terminal.
struct Stdout {
    taken: bool,
}

impl Streams for Stdout {
    fn stream(&mut self) -> std::result::Result<Box<dyn Write + Send + Sync>, AttributeError> {
        let fail = |message: &str, hint: &str| {
            Err(AttributeError { message: message.to_owned(), hint: Some(hint.to_owned()) })
        };
        if std::mem::replace(&mut self.taken, true) {
            return fail("only one output can be on standard output", "`dest=FILE` puts another elsewhere");
        }
        if terminal::stdout_is_terminal() {
            return fail("an archive is nothing for a terminal", "give `dest=FILE`, or pipe it");
        }
        Ok(Box::new(stdout()))
    }
}

#[cfg(test)]
mod tests {
    use kiln_engine::build::Destination;

    use super::*;

    fn read(text: &str) -> Result<Export> {
        parse(text, &mut Stdout { taken: false })
    }

    fn all(texts: &[&str], push: bool, load: bool) -> Vec<Export> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        exports(&texts, push, load).unwrap()
    }

    #[test]
    fn every_form() {
        assert!(matches!(read("out"), Ok(Export::Local { dest, .. }) if dest == Path::new("out")));
        let file = read("type=oci,dest=x.tar");
        assert!(
            matches!(file, Ok(Export::Oci { dest: Destination::File(path), .. }) if path == Path::new("x.tar"))
        );
        let image = read(r#"type=image,"name=a,b:1",push,annotation.Title=A=B"#).unwrap();
        let Export::Image { image, place } = image else { panic!("{image:?}") };
        assert_eq!((image.names.len(), place.push), (2, true));
        let annotation = image.annotations.iter().next().unwrap();
        assert_eq!((annotation.key.as_str(), annotation.value.as_str()), ("Title", "A=B"));
        for bad in
            ["type=local", "type=zip,dest=x", "dest=x", "type=oci,push=true", "type=oci,x", "type=local,dest"]
        {
            let error = read(bad).expect_err(bad);
            assert!(error.message.starts_with("`-o "), "{error}");
        }
    }

    #[test]
    fn push_and_load_add_what_is_missing() {
        let place = |export: &Export| match export {
            Export::Image { place, .. } => (place.store, place.push),
            other => panic!("no image: {other:?}"),
        };
        assert_eq!(place(&all(&[], false, false)[0]), (true, false));
        assert_eq!(place(&all(&[], true, true)[0]), (true, true));
        assert_eq!(all(&[], true, true).len(), 1);
        let both = all(&["type=local,dest=x"], true, false);
        assert_eq!((both.len(), place(&both[1])), (2, (true, true)));
        let given = all(&["type=image,store=false"], true, true);
        assert_eq!((given.len(), place(&given[0]), place(&given[1])), (2, (false, true), (true, false)));
        assert_eq!(all(&["type=oci,dest=x"], false, false).len(), 1);
    }

    #[test]
    fn a_folder_outside_is_not_emptied() {
        let delete = |dest: &str| {
            let text = format!("type=local,dest={dest},mode=delete");
            vec![read(&text).unwrap()]
        };
        for outside in ["/", ".", "..", "../x", "/tmp/x", "new/../.."] {
            assert!(check_deletes(&delete(outside), false).is_err(), "{outside}");
            assert!(check_deletes(&delete(outside), true).is_ok(), "{outside}");
        }
        assert!(check_deletes(&delete("target/new/out"), false).is_ok());
        assert!(check_deletes(&[read("type=local,dest=/x").unwrap()], false).is_ok());
    }
}
