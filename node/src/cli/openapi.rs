//! `cairn openapi`: the OpenAPI document of the REST API, for those who have no node at hand.

use std::io::Write as _;

use super::failure::{Failure, OrFail as _};

pub(super) fn print() -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    output
        .write_all(crate::admin::document())
        .or_fail("print the document")?;
    output.write_all(b"\n").or_fail("print the document")
}
