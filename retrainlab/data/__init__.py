"""Images: from files and packages to splits and batches on the device.

    sources    the table of data sets: how each is read, downloaded, held out and augmented
    folders    which files of a folder of images are read, as which class of which split
    reading    a folder's images, fingerprint and description
    pixels     an image file as 8-bit RGB, or why it cannot be
    dataset    what training sees: clean splits, and seeded batches with augmentation, on the device

Later modules build on earlier ones; nothing here knows networks.
"""
