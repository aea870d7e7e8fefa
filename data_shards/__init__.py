"""Bytes on disk or S3 become verified, exactly-once batches. Knows files, nothing of models."""
