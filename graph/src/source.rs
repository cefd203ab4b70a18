//! Operations that bring files in from outside.

use kiln_oci::{Digest, Platform, Reference};

use crate::{ChmodSpec, Owner};

/// Files from outside the build. A source has no inputs. `FROM scratch` is no source: it is the absence of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceOp {
    /// The filesystem of an image.
    Image {
        /// Pinned by digest where the base's configuration was resolved before lowering.
        reference: Reference,
        /// Which image of an index.
        platform: Platform,
    },
    /// A directory of whoever asked for the build.
    Local {
        /// `context`, or the name of a named context.
        name: String,
        /// Which files are needed, as `.dockerignore`-like patterns relative to the root; empty is everything.
        /// Go wildcards per component, `**`; a match covers everything beneath it.
        include: Vec<String>,
        /// Which files are hidden, lines of a `.dockerignore` in their order ([`crate::ignore::IgnoreFile`]).
        exclude: Vec<String>,
        /// Paths whose symbolic links must come with their targets, relative to the root.
        follow: Vec<String>,
    },
    /// A commit of a git repository.
    Git {
        /// Where to fetch from, without fragment and query. User info in it is no part of the operation's digest.
        remote: String,
        /// Branch, tag, `refs/…` or commit; `None` is the remote's default branch.
        reference: Option<String>,
        /// Directory of the tree that becomes the root.
        subdir: Option<String>,
        /// Commit, or a prefix of one, that the reference must resolve to.
        checksum: Option<String>,
        /// Whether `.git` stays.
        keep_git_dir: bool,
        /// What happens to submodules.
        submodules: Submodules,
        /// Which times the files have.
        times: GitTimes,
        /// Whether `checksum`, a whole commit then, is believed: `reference` is not looked up and only names it.
        fetch_by_commit: bool,
        /// How its server lets us in. No part of the operation's digest.
        access: GitAccess,
    },
    /// One downloaded file.
    Http {
        /// Where it is. User info in it is no part of the operation's digest.
        url: String,
        /// What its content must hash to.
        checksum: Option<Digest>,
        /// Its name in the result's root.
        filename: String,
        /// Its permissions; 0600 where not given.
        mode: Option<ChmodSpec>,
        /// Its owner; root where not given.
        owner: Option<Owner>,
    },
    /// An image in an OCI layout directory that the client offers.
    OciLayout {
        /// The store's name.
        store: String,
        /// Which manifest.
        digest: Digest,
        /// Which image of an index.
        platform: Platform,
    },
}

/// What happens to a git repository's submodules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Submodules {
    /// Fetched, with theirs.
    #[default]
    Recursive,
    /// Left as empty directories.
    Skip,
}

/// Which modification times the files of a git repository have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GitTimes {
    /// That of the checkout.
    #[default]
    Checkout,
    /// That of the commit.
    Commit,
}

/// How the server of a repository lets us in, where that is not as usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitAccess {
    /// The secret whose value is a token, `GIT_AUTH_TOKEN` where not given.
    pub token_secret: Option<String>,
    /// The secret whose value is the `Authorization` header, `GIT_AUTH_HEADER` where not given.
    pub header_secret: Option<String>,
    /// The keys of SSH servers, as lines of `known_hosts`: no other server is believed.
    pub known_hosts: Option<String>,
    /// The SSH agent, `default` where not given.
    pub agent: Option<String>,
}
