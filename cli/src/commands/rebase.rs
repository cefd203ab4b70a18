//! `kiln rebase`.

use std::io::Write as _;

use kiln_engine::Result;
use kiln_engine::images::{RebaseRequest, Rebased, RebasedImage};

use super::OK;
use crate::app::{App, block_on};
use crate::args::image::RebaseArgs;
use crate::render::progress::Transfers;
use crate::values::target;
use crate::{terminal, text};

pub(super) fn run(args: &RebaseArgs, app: &App) -> Result<u8> {
    let request = RebaseRequest {
        image: args.image.clone(),
        old_base: args.old_base.clone(),
        new_base: args.new_base.clone(),
        names: args.tags.iter().map(|tag| target::name(tag)).collect::<Result<_>>()?,
        platform: args.platform.clone(),
        pull: args.pull,
    };
    let engine = app.engine()?;
    let progress = Transfers::start(&format!("rebasing {}", args.image), args.quiet);
    let rebased = block_on(engine.images().rebase(&request, &progress));
    progress.finish();
    let rebased = rebased?;
    if args.quiet {
        return terminal::say(rebased.id.as_str()).map(|()| OK);
    }
    for image in &rebased.images {
        terminal::say(&line(image, rebased.images.len() > 1))?;
        note_inherited(image);
    }
    terminal::say(&result(&rebased)).map(|()| OK)
}

/// What a build on the new base would have made otherwise.
fn note_inherited(image: &RebasedImage) {
    for one in &image.inherited {
        let new = if one.new.is_empty() { "nothing".to_owned() } else { format!("`{}`", one.new) };
        let line =
            format!("Note: `{}` stays `{}`, the old base's; the new base has {new}\n", one.setting, one.kept);
        let _ = std::io::stderr().write_all(text::neutral(&line).as_bytes());
    }
}

/// What happened to one image.
fn line(image: &RebasedImage, with_platform: bool) -> String {
    let platform = if with_platform { format!("{}: ", image.platform) } else { String::new() };
    let base = image.base.as_ref().map_or_else(|| "scratch".to_owned(), |base| base.familiar());
    match image.unchanged {
        true => format!("{platform}on {base} already"),
        false => format!(
            "{platform}{} of the image on {} of {base}, in place of {}",
            layers(image.own),
            layers(image.added),
            layers(image.removed)
        ),
    }
}

fn result(rebased: &Rebased) -> String {
    let names: Vec<String> = rebased.names.iter().map(|name| name.familiar()).collect();
    match names.is_empty() {
        true => format!("Rebased: {}", rebased.id),
        false => format!("Rebased: {} ({})", names.join(", "), rebased.id),
    }
}

fn layers(count: usize) -> String {
    format!("{count} layer{}", if count == 1 { "" } else { "s" })
}
