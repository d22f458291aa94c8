//! The report as one JSON document, whose schema is published in `docs/schema/report-1.json`.

use super::Failure;
use super::model::Report;

/// The document; its digest stands in the field of that name.
pub fn render(report: &Report) -> Result<Vec<u8>, Failure> {
    let mut bytes =
        serde_json::to_vec_pretty(report).map_err(|e| Failure::Format("JSON", e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The published schema.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Report)
}
