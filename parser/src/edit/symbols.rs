//! The outline: global arguments, stages, and the instructions in them.

use std::ops::Range;

use super::Document;
use crate::Node;

/// Longest text of an instruction in the outline, in characters.
const MAX_DETAIL: usize = 60;

/// An entry of the outline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// A stage's name, an instruction's keyword.
    pub name: String,
    /// The base of a stage, the text of an instruction.
    pub detail: String,
    /// What it is.
    pub kind: SymbolKind,
    /// All lines of it.
    pub bytes: Range<usize>,
    /// Its name, inside `bytes`.
    pub name_bytes: Range<usize>,
    /// What is inside it.
    pub children: Vec<Symbol>,
}

/// What an entry of the outline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolKind {
    /// From a `FROM` to the next.
    Stage,
    /// `ARG` or `ENV`.
    Variable,
    /// Any other.
    Instruction,
}

/// The outline of a file.
pub fn symbols(document: &Document) -> Vec<Symbol> {
    let mut found: Vec<Symbol> =
        document.file.global_args.iter().map(|node| of_node(document, node)).collect();
    for (index, stage) in document.file.stages.iter().enumerate() {
        let head = document.bytes_of(stage.span);
        let children: Vec<Symbol> = stage.instructions.iter().map(|node| of_node(document, node)).collect();
        let end = children.last().map_or(head.end, |last| last.bytes.end);
        found.push(Symbol {
            name: document.stage_title(index),
            detail: stage.from.image.clone(),
            kind: SymbolKind::Stage,
            bytes: head.start..end,
            name_bytes: document.stage_bytes(index).unwrap_or(head),
            children,
        });
    }
    found
}

fn of_node(document: &Document, node: &Node) -> Symbol {
    let bytes = document.bytes_of(node.span);
    let joined = document.joined_at_line(node.span);
    let name_bytes = joined.map_or(bytes.clone(), |joined| joined.in_file(joined.first_word()));
    let keyword = node.keyword();
    let rest = node.code[keyword.len()..].trim_start();
    let kind = if matches!(keyword.to_ascii_uppercase().as_str(), "ARG" | "ENV") {
        SymbolKind::Variable
    } else {
        SymbolKind::Instruction
    };
    Symbol {
        name: keyword.to_ascii_uppercase(),
        detail: rest.chars().take(MAX_DETAIL).collect(),
        kind,
        name_bytes,
        bytes,
        children: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;

    #[test]
    fn stages_hold_their_instructions() {
        let text = "ARG A=1\n\nfrom x as one\nRUN a \\\n  b\nFROM y\n";
        let document = Document::new(SourceFile::new("Dockerfile", text));
        let found = symbols(&document);
        let names: Vec<&str> = found.iter().map(|symbol| symbol.name.as_str()).collect();
        assert_eq!(names, ["ARG", "one", "1"]);
        assert_eq!((found[0].kind, found[0].detail.as_str()), (SymbolKind::Variable, "A=1"));
        let stage = &found[1];
        assert_eq!(&text[stage.bytes.clone()], "from x as one\nRUN a \\\n  b");
        assert_eq!((&text[stage.name_bytes.clone()], stage.detail.as_str()), ("one", "x"));
        assert_eq!((stage.children.len(), stage.children[0].detail.as_str()), (1, "a   b"));
        assert_eq!(&text[found[2].name_bytes.clone()], "y");
    }
}
