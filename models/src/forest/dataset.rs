//! linfa's traits: a forest is fitted to a dataset and predicts scores, like linfa's own models.

use linfa::{
    DatasetBase, Float,
    traits::{Fit, PredictInplace},
};
use ndarray::{Array1, ArrayBase, ArrayView2, Data, Ix2};

use super::{Forest, ForestError, Table, ValidForestParams};

struct View<'a, F>(ArrayView2<'a, F>);

impl<F: Float> Table for View<'_, F> {
    fn rows(&self) -> usize {
        self.0.nrows()
    }

    fn width(&self) -> usize {
        self.0.ncols()
    }

    fn at(&self, row: usize, feature: usize) -> f32 {
        self.0.get((row, feature)).and_then(|value| value.to_f32()).unwrap_or(f32::NAN)
    }
}

/// Targets are not looked at: the forest is grown from the records alone.
impl<F: Float, D: Data<Elem = F>, T> Fit<ArrayBase<D, Ix2>, T, ForestError> for ValidForestParams {
    type Object = Forest;

    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<Forest, ForestError> {
        self.grow_from(&View(dataset.records.view()))
    }
}

/// Scores as of [`Forest::scores`]. Columns that the records lack are missing values, further ones are ignored.
impl<F: Float, D: Data<Elem = F>> PredictInplace<ArrayBase<D, Ix2>, Array1<f64>> for Forest {
    fn predict_inplace<'a>(&'a self, x: &'a ArrayBase<D, Ix2>, y: &mut Array1<f64>) {
        self.score_into(&View(x.view()), y.iter_mut());
    }

    fn default_target(&self, x: &ArrayBase<D, Ix2>) -> Array1<f64> {
        Array1::zeros(x.nrows())
    }
}
