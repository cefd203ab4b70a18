//! How measurements are shown.

use anyhow::Result;

use super::figure::Figure;
use crate::field::Field;

/// One line of the report: a piece of work, its goal and who took how much of what is measured.
pub(super) struct Row {
    pub(super) work: &'static str,
    pub(super) goal: f64,
    pub(super) unit: Unit,
    /// Ours first.
    pub(super) figures: Vec<(&'static str, Result<Figure>)>,
}

/// What a figure counts.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Milliseconds,
    Megabytes,
}

impl Unit {
    pub(super) fn show(self, figure: f64) -> String {
        match self {
            Unit::Milliseconds => format!("{figure:.2} ms"),
            Unit::Megabytes => format!("{figure:.1} MB"),
        }
    }
}

impl Row {
    /// Prints the goal and everybody's best, as a ratio to ours.
    pub(super) fn print(&self) {
        println!("\n{}  (goal {})", self.work, self.unit.show(self.goal));
        let ours =
            self.figures.first().and_then(|(_, figure)| figure.as_ref().ok()).map(|figure| figure.best);
        for (name, figure) in &self.figures {
            match figure {
                Ok(Figure { best, median }) => {
                    let ratio = ours.map_or_else(String::new, |ours| format!("{:6.2}x", best / ours));
                    let (best, median) = (self.unit.show(*best), format!("({})", self.unit.show(*median)));
                    println!("  {name:24} {best:>12}  {median:>14}  {ratio}");
                }
                Err(error) => println!("  {name:24} not measured: {error:#}"),
            }
        }
    }
}

/// The size of the program, which has a goal too.
pub(super) fn print_size(field: &Field) -> Result<()> {
    let bytes = std::fs::metadata(field.kiln())?.len();
    println!("\nbinary, stripped           {:.1} MB  (goal 25 MB)", bytes as f64 / 1e6);
    Ok(())
}
