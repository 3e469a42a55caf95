"""Images: from files and packages to splits and batches on the device.

    pixels     an image file as 8-bit RGB, or why it cannot be
    folders    which files of a folder of images are read, as which class of which split
    reading    a folder of images: its pixels, fingerprint and description
    given      what a user gives: tensors, a Dataset or a DataLoader, of inputs of any shape
    sources    the table of data sets: how each is read, downloaded, held out and augmented
    dataset    the clean splits on the device
    batches    what training sees: seeded batches with augmentation

Later modules build on earlier ones; nothing here knows networks.
"""
