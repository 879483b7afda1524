"""What each event of a history has to be: the rules that `fsck` judges by."""
