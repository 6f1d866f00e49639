//! The results as pictures (SVG).

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::record::Result;
use crate::summary::{OURS, Summary};

/// Colours that stay apart for those who see few of them (Okabe and Ito). Ours is the first.
const COLOURS: [RGBColor; 7] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(120, 120, 120),
];
const THREADS: [u32; 4] = [1, 2, 4, 16];
const FONT: &str = "sans-serif";

/// The rows of the bars.
const BARS: [&str; 20] = [
    "put, 1 thread",
    "put, 16 threads",
    "put in order",
    "put in batches of 100",
    "synced put, 1 thread",
    "synced put, 16 threads",
    "get, 1 thread",
    "get, 16 threads",
    "get hot",
    "get missing",
    "seek + 1",
    "seek + 50",
    "full scan",
    "YCSB A: 50 % update",
    "YCSB B: 5 % update",
    "YCSB C: read only",
    "YCSB D: read latest",
    "YCSB E: short scans",
    "YCSB F: read, modify, write",
    "get beside a writer",
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Puts and gets a second by 1 to 16 threads, a line an engine.
pub(crate) fn threads(summary: &Summary) -> Result<String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (960, 380)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(480);
    lines(summary, &left, "put")?;
    lines(summary, &right, "get")?;
    root.present()?;
    drop((left, right, root));
    Ok(svg)
}

fn lines(summary: &Summary, area: &Area<'_>, operation: &str) -> Result {
    let rate = |threads: u32, engine: &str| {
        let plural = if threads == 1 { "" } else { "s" };
        let row = format!("{operation}, {threads} thread{plural}");
        summary.rate(&row, engine).map(|rate| rate / 1e3)
    };
    // The lines end at 3; right of them is room for their names.
    let rates = summary.engines.iter().flat_map(|e| THREADS.map(|n| rate(n, e)));
    let highest = rates.flatten().fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{operation}, thousand a second"), (FONT, 17))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(-0.2..4.6, 0.0..highest * 1.05)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(6)
        .x_label_formatter(&|x| {
            THREADS.map(|n| n.to_string()).get(at(*x)).cloned().unwrap_or_default()
        })
        .y_label_formatter(&|y| format!("{y:.0}"))
        .x_desc("threads")
        .draw()?;
    for (engine, colour) in summary.engines.iter().zip(colours(summary)) {
        let points = (0..).zip(THREADS).filter_map(|(x, n)| Some((f64::from(x), rate(n, engine)?)));
        let points: Vec<_> = points.collect();
        let style = colour.stroke_width(if *engine == OURS { 3 } else { 2 });
        let series = LineSeries::new(points, style).point_size(3);
        let key = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style);
        chart.draw_series(series)?.label(*engine).legend(key);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(TRANSPARENT)
        .draw()?;
    Ok(())
}

/// The number of threads that a place on the axis stands for; those between stand for none.
fn at(x: f64) -> usize {
    if (x - x.round()).abs() < 0.01 && x > -0.01 { x.round() as usize } else { usize::MAX }
}

fn colours(summary: &Summary) -> impl Iterator<Item = RGBColor> {
    COLOURS.into_iter().cycle().take(summary.engines.len())
}

/// Rates of lsm-core as multiples of the best other engine's, a bar a row.
pub(crate) fn best(summary: &Summary) -> Result<String> {
    const ROW: i32 = 22;
    const LEFT: i32 = 210;
    const TOP: i32 = 40;
    /// Beyond that a bar is cut off.
    const RATIO_MAX: f64 = 4.0;
    const WIDTH: f64 = 520.0;
    let bars: Vec<_> = BARS.iter().filter_map(|row| Some((*row, summary.ratio(row)?))).collect();
    let height = TOP + ROW * bars.len() as i32 + 16;
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (800, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let place = |ratio: f64| LEFT + (WIDTH / RATIO_MAX * ratio.min(RATIO_MAX)) as i32;
    let title = "lsm-core, as a multiple of the best other engine in each row";
    root.draw_text(title, &(FONT, 17).into_text_style(&root), (10, 10))?;
    let font = (FONT, 14).into_text_style(&root);
    for (n, (row, ratio)) in (0..).zip(&bars) {
        let top = TOP + n * ROW;
        root.draw_text(row, &font, (10, top + 3))?;
        let colour = if *ratio >= 1.0 { COLOURS[1] } else { COLOURS[0] };
        let corners = [(LEFT, top + 2), (place(*ratio), top + ROW - 4)];
        root.draw(&Rectangle::new(corners, colour.filled()))?;
        root.draw_text(&format!("{ratio:.2}"), &font, (place(*ratio) + 6, top + 3))?;
    }
    let line = [(place(1.0), TOP - 4), (place(1.0), height - 12)];
    root.draw(&PathElement::new(line, BLACK.stroke_width(1)))?;
    root.present()?;
    drop(root);
    Ok(svg)
}
