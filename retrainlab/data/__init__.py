"""Images: from files and packages to splits and batches on the device."""
