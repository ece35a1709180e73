"""What several deconvolution methods share: inverses of stacks of matrices, spectral filters, parameter choices."""
