"""The rules that `fsck` checks each event of a history against."""
