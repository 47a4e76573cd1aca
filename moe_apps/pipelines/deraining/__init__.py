"""Image deraining and deweathering: DRSformer and MoFME, from pairs of images to a served model."""
