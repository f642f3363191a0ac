"""What is wrong with recorded data, found in the data itself: each finding names its episode and row."""
