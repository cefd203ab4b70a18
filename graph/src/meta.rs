//! What people are told about a vertex.

/// What people are told about a vertex. Never part of a digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VertexMeta {
    /// As progress shows it, for example `[build 2/3] RUN make`.
    pub name: String,
    /// First and last line of the source that asked for it, from 1.
    pub span: Option<(u32, u32)>,
    /// Whether a remembered result is not used.
    pub ignore_cache: bool,
    /// The stage it belongs to, by name or number.
    pub stage: Option<String>,
}

impl VertexMeta {
    /// A name and nothing else.
    pub fn named(name: impl Into<String>) -> Self {
        VertexMeta { name: name.into(), ..VertexMeta::default() }
    }

    /// Whether the vertex is of the builder's own making (`[internal] …`).
    pub fn is_internal(&self) -> bool {
        self.name.starts_with("[internal]")
    }
}
