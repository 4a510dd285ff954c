// A matrix engine whose rows have 4 or 8 bits, in the manner of Quasar-ViT (docs/search_architecture.md).
//
// It multiplies M rows of K activations of 8 bits with N4 rows of 4 bits and then N8 rows of 8 bits, and gives
// bytes. ROWS x LANES cells work on a tile. A cell has two multipliers of a byte by a nibble: for rows of 4 bits
// they serve two rows; for rows of 8 bits they make the two halves of one product. So a tile has 2*LANES rows of
// 4 bits, or LANES of 8. Sums get a bias, are shifted right with rounding, and saturate at +-127.
//
// Memories stand outside: an address of one cycle is answered in the next. There is no pause between tiles: the
// cycles from start to done are ceil(M/ROWS) * (ceil(N4/(2*LANES)) + ceil(N8/LANES)) * K + 3.
module mixed_rows #(
    parameter ROWS = 2,    // rows of activations at once
    parameter LANES = 2,   // cells a row
    parameter SUM = 24,    // bits of a sum, signed
    parameter SIZE = 12    // bits of a size
) (
    input  wire                             clk,
    input  wire                             rst,
    input  wire                             start,
    input  wire [SIZE-1:0]                  row_tiles,    // ceil(M/ROWS)
    input  wire [SIZE-1:0]                  four_tiles,   // ceil(N4/(2*LANES))
    input  wire [SIZE-1:0]                  all_tiles,    // that and ceil(N8/LANES)
    input  wire [SIZE-1:0]                  inner,        // K
    output reg  [SIZE-1:0]                  row_tile,     // which activations: of this tile,
    output reg  [SIZE-1:0]                  weight_tile,  // which weights: of this tile,
    output reg  [SIZE-1:0]                  index,        // at this place of the sum
    input  wire [8*ROWS-1:0]                activations,
    input  wire [8*LANES-1:0]               weights,      // a byte a lane; of two rows of 4 bits the first is low
    output wire [SIZE-1:0]                  bias_tile,    // which biases and shifts, answered in the same cycle
    input  wire [2*LANES*SUM-1:0]           biases,
    input  wire [2*LANES*5-1:0]             shifts,       // 1 to 31
    output reg                              valid,        // a tile is done: two rows a lane, or the first of them
    output reg  [SIZE-1:0]                  out_row_tile,
    output reg  [SIZE-1:0]                  out_weight_tile,
    output reg  [16*ROWS*LANES-1:0]         out,
    output reg                              done
);
    // -- addresses: a counter of three digits
    reg  running;
    wire last_index  = index == inner - 1;
    wire last_weight = weight_tile == all_tiles - 1;
    wire last_row    = row_tile == row_tiles - 1;

    always @(posedge clk)
        if (rst) begin
            running <= 0;
            {row_tile, weight_tile, index} <= 0;
        end else if (start) begin
            running <= 1;
            {row_tile, weight_tile, index} <= 0;
        end else if (running) begin
            index <= last_index ? 0 : index + 1;
            if (last_index) begin
                weight_tile <= last_weight ? 0 : weight_tile + 1;
                if (last_weight) begin
                    row_tile <= row_tile + 1;
                    if (last_row) running <= 0;
                end
            end
        end

    // -- what goes along with the data: memory, products, sums, output
    reg [3:0] alive, first, last, eight;  // bit i: of stage i
    reg [2:0] ending;
    reg [SIZE-1:0] row_1, row_2, row_3, weight_1, weight_2, weight_3;

    always @(posedge clk) begin
        alive  <= rst ? 4'b0 : {alive[2:0], running};
        first  <= {first[2:0], index == 0};
        last   <= {last[2:0], last_index};
        eight  <= {eight[2:0], weight_tile >= four_tiles};
        ending <= rst ? 3'b0 : {ending[1:0], running && last_index && last_weight && last_row};
        {row_3, row_2, row_1} <= {row_2, row_1, row_tile};
        {weight_3, weight_2, weight_1} <= {weight_2, weight_1, weight_tile};
    end

    assign bias_tile = weight_3;
    wire emit = alive[2] && last[2];

    always @(posedge clk) begin
        valid <= rst ? 1'b0 : emit;
        done  <= rst ? 1'b0 : ending[2];
        out_row_tile    <= row_3;
        out_weight_tile <= weight_3;
    end

    // a sum with its bias, shifted right, halves up, within +-127
    function [7:0] requantised(input signed [SUM-1:0] sum, input signed [SUM-1:0] bias, input [4:0] shift);
        reg signed [SUM+1:0] whole, half, shifted;
        begin
            whole   = $signed({{2{sum[SUM-1]}}, sum}) + $signed({{2{bias[SUM-1]}}, bias});
            half    = $signed({{(SUM+1){1'b0}}, 1'b1}) <<< (shift - 5'd1);
            shifted = (whole + half) >>> shift;
            requantised = shifted > 127 ? 8'd127 : shifted < -127 ? 8'h81 : shifted[7:0];
        end
    endfunction

    genvar r, l;
    generate
        for (r = 0; r < ROWS; r = r + 1) begin : rows
            for (l = 0; l < LANES; l = l + 1) begin : lanes
                wire signed [7:0] a = activations[8*r +: 8];
                wire        [7:0] w = weights[8*l +: 8];
                // a low nibble has a sign of its own only where it is a weight of its own
                wire signed [4:0] low  = $signed({eight[0] ? 1'b0 : w[3], w[3:0]});
                wire signed [4:0] high = $signed({w[7], w[7:4]});
                reg  signed [12:0] low_product, high_product;
                reg  signed [SUM-1:0] low_sum, high_sum;
                wire signed [16:0] whole = $signed({{4{low_product[12]}}, low_product})
                                         + $signed({high_product, 4'b0});
                wire signed [SUM-1:0] low_more  = eight[1] ? $signed(whole) : $signed(low_product);
                wire signed [SUM-1:0] low_next  = (first[1] ? 0 : low_sum) + low_more;
                wire signed [SUM-1:0] high_next = (first[1] ? 0 : high_sum) + high_product;

                always @(posedge clk) begin
                    low_product  <= a * low;
                    high_product <= a * high;
                    if (alive[1]) begin
                        low_sum  <= low_next;
                        high_sum <= high_next;
                    end
                end

                // the outputs of a cell: row 2l and row 2l+1 of a tile of 4 bits, row l of one of 8
                localparam AT = 2 * l;
                wire [SUM-1:0] low_bias  = eight[2] ? biases[SUM*l +: SUM] : biases[SUM*AT +: SUM];
                wire [4:0]     low_shift = eight[2] ? shifts[5*l +: 5] : shifts[5*AT +: 5];
                wire [7:0]     low_out   = requantised(low_sum, low_bias, low_shift);
                wire [7:0]     high_out  = requantised(high_sum, biases[SUM*(AT+1) +: SUM], shifts[5*(AT+1) +: 5]);
                always @(posedge clk)
                    if (emit) out[16*(r*LANES+l) +: 16] <= {high_out, low_out};
            end
        end
    endgenerate
endmodule
