//! Changes to JSON documents, which the source logs in place of the documents.

use super::plan::TablePlan;
use super::string;
use crate::decode::{DecodeError, JsonDiffOperation, JsonDiffs, PartialJson, RowImage};

/// `,"json_diffs":{"column":[{"op":"replace","path":"$.a","value":2}]}`.
pub(super) fn write(
    plan: &TablePlan,
    image: RowImage<'_>,
    partial_json: PartialJson<'_>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    out.extend_from_slice(b",\"json_diffs\":{");
    let mut first = true;
    for cell in image.cells() {
        let (index, cell) = cell?;
        let (Some(how), true) = (
            plan.columns.get(index),
            partial_json.has(&plan.table, index),
        ) else {
            continue;
        };
        let skipped = usize::from(std::mem::take(&mut first));
        out.extend_from_slice(how.name.get(skipped..).unwrap_or_default());
        out.push(b'[');
        for (n, diff) in JsonDiffs::new(cell.unwrap_or_default()).iter().enumerate() {
            let diff = diff?;
            if n > 0 {
                out.push(b',');
            }
            out.extend_from_slice(match diff.operation {
                JsonDiffOperation::Replace => b"{\"op\":\"replace\",\"path\":",
                JsonDiffOperation::Insert => b"{\"op\":\"insert\",\"path\":",
                JsonDiffOperation::Remove => b"{\"op\":\"remove\",\"path\":",
            });
            string::push_str(&String::from_utf8_lossy(diff.path), out);
            if let Some(value) = diff.value {
                out.extend_from_slice(b",\"value\":");
                value.write_compact(out)?;
            }
            out.push(b'}');
        }
        out.push(b']');
    }
    out.push(b'}');
    Ok(())
}
