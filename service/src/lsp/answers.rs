//! What the engine knows about a document, as the protocol writes it.

use kiln_engine::dockerfile::{
    Completion, CompletionKind, Diagnostic, Fix, Rewrite, Severity, Symbol, SymbolKind, complete, definition,
    fixes, hover, rewrites, rule_url, symbols,
};
use serde_json::{Value, json};

use super::documents::Open;
use super::protocol::{
    self, CodeDescription, CompletionItem, DocumentSymbol, Hover, Location, Markup, Position, Range, TextEdit,
};

impl Open {
    fn range(&self, bytes: &std::ops::Range<usize>) -> Range {
        self.lines.range(self.text(), bytes)
    }

    fn offset(&self, position: Position) -> usize {
        self.lines.offset(self.text(), position)
    }

    fn edit(&self, rewrite: Rewrite) -> TextEdit {
        TextEdit { range: self.range(&rewrite.bytes), new_text: rewrite.text }
    }

    /// All complaints.
    pub(super) fn diagnostics(&self) -> Vec<protocol::Diagnostic> {
        self.document.diagnostics().iter().map(|diagnostic| self.diagnostic(diagnostic)).collect()
    }

    fn diagnostic(&self, diagnostic: &Diagnostic) -> protocol::Diagnostic {
        let hint = diagnostic.help.as_ref().map(|help| format!("\nhint: {help}")).unwrap_or_default();
        protocol::Diagnostic {
            range: self.range(&self.document.place(diagnostic)),
            severity: match diagnostic.severity {
                Severity::Error => 1,
                Severity::Warning => 2,
            },
            code: diagnostic.rule,
            code_description: diagnostic.rule.and_then(rule_url).map(|href| CodeDescription { href }),
            source: "kiln",
            message: format!("{}{hint}", diagnostic.message),
        }
    }

    pub(super) fn hover(&self, position: Position) -> Option<Hover> {
        let hover = hover(&self.document, self.offset(position))?;
        Some(Hover { contents: Markup::markdown(hover.text), range: self.range(&hover.bytes) })
    }

    pub(super) fn completions(&self, position: Position) -> Vec<CompletionItem> {
        let found = complete(&self.document, self.offset(position));
        found.into_iter().map(|completion| self.completion(completion)).collect()
    }

    fn completion(&self, completion: Completion) -> CompletionItem {
        let Completion { label, kind, about, bytes, text } = completion;
        let kind = match kind {
            CompletionKind::Keyword => 14,
            CompletionKind::Option => 10,
            CompletionKind::Value => 12,
            CompletionKind::Stage => 9,
            CompletionKind::Variable => 6,
        };
        let text_edit = TextEdit { range: self.range(&bytes), new_text: text };
        CompletionItem { filter_text: label.clone(), label, kind, documentation: about, text_edit }
    }

    pub(super) fn definition(&self, uri: &str, position: Position) -> Option<Location> {
        let bytes = definition(&self.document, self.offset(position))?;
        Some(Location { uri: uri.to_owned(), range: self.range(&bytes) })
    }

    pub(super) fn symbols(&self) -> Vec<DocumentSymbol> {
        symbols(&self.document).into_iter().map(|symbol| self.symbol(symbol)).collect()
    }

    fn symbol(&self, symbol: Symbol) -> DocumentSymbol {
        DocumentSymbol {
            name: symbol.name,
            detail: symbol.detail,
            kind: match symbol.kind {
                SymbolKind::Stage => 2,
                SymbolKind::Variable => 13,
                SymbolKind::Instruction => 12,
            },
            range: self.range(&symbol.bytes),
            selection_range: self.range(&symbol.name_bytes),
            children: symbol.children.into_iter().map(|child| self.symbol(child)).collect(),
        }
    }

    /// The changes to the usual form; none where the file has errors.
    pub(super) fn format(&self) -> Option<Vec<TextEdit>> {
        let rewrites = rewrites(self.document.source()).ok()?;
        Some(rewrites.into_iter().map(|rewrite| self.edit(rewrite)).collect())
    }

    pub(super) fn actions(&self, uri: &str, range: Range) -> Vec<Value> {
        let bytes = self.lines.bytes(self.text(), range);
        fixes(&self.document, &bytes).into_iter().map(|fix| self.action(uri, fix)).collect()
    }

    fn action(&self, uri: &str, fix: Fix) -> Value {
        let diagnostic = self.document.diagnostics().get(fix.diagnostic).map(|found| self.diagnostic(found));
        let edits: Vec<TextEdit> = fix.rewrites.into_iter().map(|rewrite| self.edit(rewrite)).collect();
        json!({
            "title": fix.title,
            "kind": "quickfix",
            "diagnostics": diagnostic.into_iter().collect::<Vec<_>>(),
            "edit": { "changes": { uri: edits } },
        })
    }
}
