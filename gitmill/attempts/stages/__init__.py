"""One file per stage type; the file name is what people write after `type:`."""
