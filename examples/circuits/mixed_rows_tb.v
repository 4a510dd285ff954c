// The memories around mixed_rows, and a clock. Sizes come from the command line, contents from files in the
// folder it runs in, as studies/quasar/engine.py writes them; outputs and the count of cycles are printed.
module mixed_rows_tb;
    parameter ROWS = 4, LANES = 4, SUM = 24, SIZE = 12, WORDS = 65536;
    reg clk = 0, rst = 1, start = 0;
    reg [31:0] row_tiles, four_tiles, all_tiles, inner, cycles = 0;
    reg [8*ROWS-1:0]      activation_memory [0:WORDS-1];
    reg [8*LANES-1:0]     weight_memory     [0:WORDS-1];
    reg [2*LANES*SUM-1:0] bias_memory       [0:1023];
    reg [2*LANES*5-1:0]   shift_memory      [0:1023];
    reg [8*ROWS-1:0]  activations;
    reg [8*LANES-1:0] weights;
    wire [SIZE-1:0] row_tile, weight_tile, index, bias_tile, out_row_tile, out_weight_tile;
    wire valid, done;
    wire [16*ROWS*LANES-1:0] out;

    mixed_rows #(.ROWS(ROWS), .LANES(LANES), .SUM(SUM), .SIZE(SIZE)) dut (
        .clk(clk), .rst(rst), .start(start), .row_tiles(row_tiles[SIZE-1:0]),
        .four_tiles(four_tiles[SIZE-1:0]), .all_tiles(all_tiles[SIZE-1:0]), .inner(inner[SIZE-1:0]),
        .row_tile(row_tile), .weight_tile(weight_tile), .index(index), .activations(activations),
        .weights(weights), .bias_tile(bias_tile), .biases(bias_memory[bias_tile]),
        .shifts(shift_memory[bias_tile]), .valid(valid), .out_row_tile(out_row_tile),
        .out_weight_tile(out_weight_tile), .out(out), .done(done));

    always #1 clk = ~clk;
    always @(posedge clk) begin
        activations <= activation_memory[row_tile * inner + index];
        weights     <= weight_memory[weight_tile * inner + index];
        cycles      <= cycles + 1;
        if (valid) $display("%0d %0d %h", out_row_tile, out_weight_tile, out);
        if (done) begin
            $display("cycles %0d", cycles);
            $finish;
        end
    end

    initial begin
        if (!$value$plusargs("row_tiles=%d", row_tiles)) row_tiles = 1;
        if (!$value$plusargs("four_tiles=%d", four_tiles)) four_tiles = 1;
        if (!$value$plusargs("all_tiles=%d", all_tiles)) all_tiles = 1;
        if (!$value$plusargs("inner=%d", inner)) inner = 1;
        $readmemh("activations.hex", activation_memory);
        $readmemh("weights.hex", weight_memory);
        $readmemh("biases.hex", bias_memory);
        $readmemh("shifts.hex", shift_memory);
        repeat (2) @(negedge clk);
        rst = 0;
        start = 1;
        @(negedge clk) start = 0;
        cycles = 0;
    end
endmodule
