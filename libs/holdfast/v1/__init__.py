"""Generated from protos/holdfast/v1 by `make protos`; never edited by hand."""
