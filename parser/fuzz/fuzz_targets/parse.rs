//! Any bytes: parsed, their pieces compared with the text, planned and lowered, every complaint rendered.

#![no_main]

use kiln_oci::{Digest, ImageConfig, Platform};
use kiln_parser::{BaseConfigs, Lowering, Plan, PlanOptions, ResolvedBase, SourceFile, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let source = SourceFile::from_bytes("Dockerfile", bytes);
    let (file, diagnostics) = parse(&source);
    let pieces: String = file.pieces.iter().map(|piece| piece.text(&source)).collect();
    assert!(pieces == source.text() || source.is_utf16());
    for diagnostic in &diagnostics {
        assert!(!diagnostic.render(&source, true).is_empty());
    }
    if !diagnostics.iter().any(kiln_parser::Diagnostic::is_error) {
        lower(&file);
    }
});

/// As far as it comes when every image is found and is empty.
fn lower(file: &kiln_parser::Dockerfile) {
    let Ok(plan) = Plan::new(file, &PlanOptions::new(Platform::new("linux", "amd64", None))) else { return };
    let mut bases = BaseConfigs::new();
    let mut wanted = plan.base_images.clone();
    loop {
        for image in wanted {
            let reference = image.reference.with_digest(Digest::of(b"x"));
            let config = ImageConfig::empty(image.platform.clone());
            bases.insert(image, ResolvedBase { reference, config });
        }
        match plan.lower(&bases) {
            Ok(Lowering::NeedsMore(more)) => wanted = more,
            _ => return,
        }
    }
}
