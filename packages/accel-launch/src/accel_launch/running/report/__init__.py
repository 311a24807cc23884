"""How a run ended: records, the judgement on what was observed, and the report as text and JSON."""
