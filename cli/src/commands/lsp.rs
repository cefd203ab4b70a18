//! `kiln lsp`.

use std::io;

use kiln_engine::{Error, Result};
use kiln_service::lsp;

use super::OK;

pub(super) fn run() -> Result<u8> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    lsp::serve(&mut input, &mut output)
        .map(|()| OK)
        .map_err(|error| Error::internal("language server", error))
}
